"""Segments of a feature in which an arm does better or worse: listed, never a verdict.

Among many segments some differ by chance. Those marked are chosen such that of all
marked ones at most a tenth has no difference, on average (e-BH; `mlops.stats.segments`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.records import Value
from mlops.monitoring.comparing import difference
from mlops.monitoring.covariates import feature_of_units
from mlops.monitoring.evidence import Evidence
from mlops.stats.segments import standing_out

#: Most values of a feature that are segments of their own.
MOST = 12
_QUARTILES = (0.25, 0.5, 0.75)
_UNKNOWN = "(unknown)"
_OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One arm against the baseline in one segment.

    Attributes:
        segment: Value or range of the feature.
        arm: Name of the arm.
        n: Units with a reward in the segment, of all arms.
        estimate: Difference to the baseline there; NaN before the first.
        lower: Anytime-valid lower bound of that one difference, -inf during the burn-in.
        upper: Upper bound.
        stands_out: Whether it is chosen as one that differs, among all that were compared.
    """

    segment: str
    arm: str
    n: int
    estimate: float
    lower: float
    upper: float
    stands_out: bool


def segment_reports(
    journal: Journal, evidence: Evidence, column: str, alpha: float
) -> tuple[SegmentReport, ...]:
    """Compare every arm with the baseline in every segment of a feature.

    Args:
        journal: Where features are.
        evidence: Of the experiment.
        column: The feature: its values are segments, or its quartiles where they are many numbers.
        alpha: One minus the level of each interval.

    Raises:
        InvalidInputError: No request has the feature.
    """
    arms, base = evidence.spec.arms, evidence.base
    if not evidence.arms.size or len(arms) < 2:
        return ()
    names = segments_of(feature_of_units(journal, evidence, column))
    found, p_values = [], []
    for name in dict.fromkeys(names):
        inside = _only(evidence, np.array([each == name for each in names]))
        for candidate, arm in enumerate(arms):
            if candidate == base:
                continue
            compared = difference(inside, candidate, alpha)
            p_values.append(float(compared.p_value[-1]))
            found.append(
                SegmentReport(
                    name, arm.name, inside.arms.size, float(compared.estimate[-1]),
                    float(compared.lower[-1]), float(compared.upper[-1]), stands_out=False,
                )
            )  # fmt: skip
    marked = [
        replace(each, stands_out=bool(chosen))
        for each, chosen in zip(found, standing_out(p_values), strict=True)
    ]
    return tuple(sorted(marked, key=lambda each: (not each.stands_out, -each.n)))


def segments_of(values: Sequence[Value]) -> list[str]:
    """Name the segment of each value.

    >>> segments_of(["red", None, "white"])
    ['red', '(unknown)', 'white']
    """
    distinct = {value for value in values if value is not None}
    numbers = [v for v in distinct if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(distinct) > MOST and len(numbers) == len(distinct):
        return _quartiles(values)
    counts: dict[Value, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    common = sorted((v for v in counts if v is not None), key=lambda v: -counts[v])[:MOST]
    return [
        _UNKNOWN if value is None else str(value) if value in common else _OTHERS
        for value in values
    ]


def _quartiles(values: Sequence[Value]) -> list[str]:
    numbers = np.array([np.nan if v is None else float(v) for v in values])
    cuts = np.unique(np.nanquantile(numbers, _QUARTILES))
    names = [f"up to {cuts[0]:.4g}"]
    names += [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(cuts)]
    names.append(f"above {cuts[-1]:.4g}")
    return [
        _UNKNOWN if np.isnan(number) else names[int(np.searchsorted(cuts, number))]
        for number in numbers
    ]


def _only(evidence: Evidence, chosen: NDArray[np.bool_]) -> Evidence:
    """The evidence of some units, without a horizon: that is one of all units."""
    return replace(
        evidence,
        spec=replace(evidence.spec, horizon=0),
        arms=evidence.arms[chosen],
        rewards=evidence.rewards[chosen],
        propensities=evidence.propensities[chosen],
        strata=evidence.strata[chosen],
        times_ms=evidence.times_ms[chosen],
    )
