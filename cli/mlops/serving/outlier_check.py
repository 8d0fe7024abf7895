"""Whether the rows of one request are outliers, for a caller who asks with the request.

Nobody else pays for it: requests without `X-Mlops-Check-Outlier: true` never come here. The
detector of the arm that answered is read when it is first asked for, and looks at rows in a thread.
Requests that wait for it keep their bodies in memory, so few may: the others are told `unknown`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from mlops.errors import InvalidInputError
from mlops.protocols.base import InferenceResponse, Payload, ProtocolError
from mlops.serving.dataplane import Answer
from mlops.serving.explaining import records_of
from mlops.serving.revision import LiveRevision
from mlops.stats.outlier_document import LEVEL, RowDetector, read_detector

_LOG = logging.getLogger(__name__)
#: Header, or metadata entry, by which a caller asks.
ASKS = "x-mlops-check-outlier"
#: Most rows of a request that are looked at, some tens of milliseconds.
MAX_ROWS = 1_000
_KEPT, _WAITING = 16, 4
_UNKNOWN = (("x-mlops-outlier", "unknown"),)


class OutlierCheck:
    """Looks at rows by the detectors of the live models. Lives on one event loop.

    Args:
        live: Gives the live revision.
    """

    def __init__(self, live: Callable[[], LiveRevision]) -> None:
        self._live = live
        # One at a time, so that those who ask take one core at most from those who do not.
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def of(
        self, answer: Answer, read: Callable[[LiveRevision], Payload]
    ) -> tuple[tuple[str, str], ...]:
        """Return the headers, or the trailing metadata, that say whether any row is an outlier.

        Args:
            answer: To the request. A request that failed is not looked at.
            read: Reads its rows once more; called in a thread.
        """
        live = self._live()
        path = _path_of(live, answer)
        if not path or self._waiting > _WAITING:
            return _UNKNOWN
        self._waiting += 1
        try:
            async with self._turn:
                p_value = await asyncio.to_thread(_smallest, path, live, read)
        finally:
            self._waiting -= 1
        if p_value is None:
            return _UNKNOWN
        flagged = "true" if p_value <= LEVEL else "false"
        return (("x-mlops-outlier", flagged), ("x-mlops-outlier-p-value", f"{p_value:.4g}"))


def is_asked(headers: Mapping[str, str]) -> bool:
    """Whether a caller asks; names in lower case."""
    return headers.get(ASKS, "").lower() in ("true", "1")


def _path_of(live: LiveRevision, answer: Answer) -> str:
    """Return the folder of the model that answered; empty where there is none here."""
    served, result = live.served, answer.result
    if not isinstance(result, InferenceResponse) or served.revision.number != answer.revision:
        return ""
    return served.paths[result.arm_index] if result.arm_index < len(served.paths) else ""


def _smallest(
    path: str, live: LiveRevision, read: Callable[[LiveRevision], Payload]
) -> float | None:
    """Return the smallest p-value of any row; None where the rows cannot be looked at."""
    try:
        detector = _detector(path)
    except OSError:
        # Too many open files, or a file system that is away for a moment: the next one tries again.
        return None
    if detector is None:
        return None
    try:
        rows = records_of(read(live), live.signature.names)
    except ProtocolError:
        return None
    names = [coding.name for coding in detector.codings]
    if not 0 < len(rows) <= MAX_ROWS or any(name not in row for row in rows for name in names):
        return None
    columns = {name: [row[name] for row in rows] for name in names}
    return float(detector.p_values_of(columns).min())


@lru_cache(maxsize=_KEPT)
def _detector(path: str) -> RowDetector | None:
    """Read the detector of a model, once; None if it has none that can be used.

    Raises:
        OSError: It cannot be read now.
    """
    try:
        return read_detector(Path(path))
    except InvalidInputError as error:
        _LOG.warning("outliers: the model in `%s` counts as without a detector: %s", path, error)
        return None
