"""Which labelled rows count: those of the decisions that the report takes."""

from __future__ import annotations

import numpy as np

from mlops.journal.records import LabelledRow
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.units import key_of


class Decisions:
    """The decisions of an experiment that have a reward, to find that of a labelled row.

    Args:
        evidence: Of the experiment.
    """

    def __init__(self, evidence: Evidence) -> None:
        # NumPy drops zeros at the end of bytes, so keys do as well.
        self._positions = {key: at for at, key in enumerate(evidence.units.tolist())}
        self._arms, self._times_ms = evidence.arms, evidence.times_ms
        self._revisions = np.array([revision for revision, _ in evidence.epochs])[evidence.strata]
        self._window_ms = round(evidence.spec.attribution.window_s * 1000)

    def position_of(self, row: LabelledRow) -> int | None:
        """Return the position of a row's decision in the evidence; None if the row does not count.

        A row counts as in a report: of a decision that has a reward, answered by the revision and
        arm that had its unit first, with a label from within the feedback window.
        """
        key = b"n" + row.nonce if row.unit is None else key_of(row.unit)
        at = self._positions.get(key.rstrip(b"\0"))
        if at is None or not row.propensity > 0:
            return None
        if row.arm != self._arms[at] or row.revision != self._revisions[at]:
            return None
        # With a window, times are those of the first requests.
        if self._window_ms and row.time_ms > self._times_ms[at] + self._window_ms:
            return None
        return at
