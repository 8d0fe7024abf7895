"""The consumer `log:NAME`, which says with each request whether its rows are outliers.

Only where the project watches for outliers. A request that cannot be looked at, as its model has
no detector or features of it were not kept, is sent without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mlops.consumers.base import Context
from mlops.consumers.request_log import RequestLog
from mlops.errors import RemoteError
from mlops.journal.streaming import Decisions
from mlops.monitoring.outliers import Share, look_at_rows
from mlops.spec.deployment import Arm
from mlops.spec.request_log import OUTLIERS_STATE
from mlops.spec.server import read_state
from mlops.stats.outlier_document import RowDetector, read_detector

# So long a server may take to say where the model of a new revision is.
_SWAP_MS = 60_000

#: Gives the detector of an arm's model, of a revision, asked at some time; None where it has none.
Detectors = Callable[[Arm, int, int], RowDetector | None]


class TaggedLog(RequestLog):
    """Feeds one sink.

    Args:
        context: Its options are a `LogSink`, and `outliers_state_file` where outliers are tagged.
        detectors: Those of the models; by default they are beside the models that are served.

    Raises:
        MlopsError: There is no such kind of sink.
    """

    def __init__(self, context: Context, detectors: Detectors | None = None) -> None:
        options = dict(context.options)
        state_file = options.pop(OUTLIERS_STATE, "")
        super().__init__(Context(context.deployment, context.journal, options, context.key))
        if detectors is None and state_file:
            detectors = ServedDetectors(Path(state_file))
        if detectors is not None:
            self._events.p_values = RowPValues(self._events.arm_of, detectors)


class RowPValues:
    """Looks at the rows of a batch.

    Args:
        arms: Gives an arm by revision and position; None where it is not known.
        detectors: Those of the models.
    """

    def __init__(self, arms: Callable[[int, int], Arm | None], detectors: Detectors) -> None:
        self._arms, self._detectors = arms, detectors

    def __call__(self, decisions: Decisions) -> Mapping[int, list[float]]:
        """Return the p-value of each row, by the position of its request in the batch."""
        found: dict[int, list[float]] = {}
        if not len(decisions):
            return found
        keys = np.stack([decisions.revisions, decisions.arms], axis=1)
        drawn, newest = np.unique(keys, axis=0), int(decisions.times_ms.max())
        tables = decisions.features()
        for revision, position in drawn.tolist():
            arm = self._arms(revision, position)
            detector = None if arm is None else self._detectors(arm, revision, newest)
            if detector is None:
                continue
            its = (keys == (revision, position)).all(axis=1)
            for looked in look_at_rows(tables, its, detector, Share()):
                requests = looked.table.requests[looked.rows].tolist()
                for request, p_value in zip(requests, looked.p_values.tolist(), strict=True):
                    found.setdefault(request, []).append(p_value)
        return found


class ServedDetectors:
    """Detectors in the folders of the models that a server has.

    Args:
        state_file: Where it says what it serves.
        now_ms: Milliseconds since 1970.
    """

    def __init__(
        self, state_file: Path, now_ms: Callable[[], float] = lambda: time.time() * 1000
    ) -> None:
        self._state_file, self._now_ms = state_file, now_ms
        self._known: dict[str, RowDetector | None] = {}

    def __call__(self, arm: Arm, revision: int, asked_ms: int) -> RowDetector | None:
        """Return the detector of an arm's model.

        Raises:
            RemoteError: The revision is so new that the server has not said yet where it is.
        """
        served = read_state(self._state_file).launch.served
        models = zip(served.revision.spec.models, served.paths, strict=True)
        path = {model.identity: path for model, path in models}.get(arm.model.identity, "")
        if not path:
            # Of a revision that is gone, or behind an endpoint, there is none.
            if revision > served.revision.number and self._now_ms() - asked_ms < _SWAP_MS:
                raise RemoteError(f"The server has not said yet where revision {revision} is.")
            return None
        if path not in self._known:
            self._known[path] = read_detector(Path(path))
        return self._known[path]
