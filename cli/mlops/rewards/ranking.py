"""How well scores rank one class above the others."""

from __future__ import annotations

from collections.abc import Sequence


def area_under_roc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """Return the area under the ROC curve; None while either class has no row.

    It is the probability that a positive row scores above a negative one, ties counting half
    (Mann-Whitney U / (n1 n0)).

    Args:
        scores: (n,) scores.
        positive: (n,) whether the row is of the class that should score high.

    >>> area_under_roc([0.1, 0.4, 0.4, 0.8], [False, False, True, True])
    0.875
    """
    from scipy.stats import rankdata

    ones = sum(positive)
    zeros = len(positive) - ones
    if not ones or not zeros:
        return None
    ranks = rankdata(scores)
    total = float(sum(rank for rank, one in zip(ranks, positive, strict=True) if one))
    return (total - ones * (ones + 1) / 2) / (ones * zeros)
