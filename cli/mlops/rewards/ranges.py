"""The range of a reward, and what becomes of one outside it.

A range is declared before any look. It allows a verdict that holds at every sample size,
without a burn-in. Feedback outside it is refused by the server; a reward derived from a
truth cannot be, since the truth is a fact, so it counts as the nearest end of the range. Capping at
a bound fixed in advance (Kohavi, Tang, Xu, "Trustworthy Online Controlled Experiments", 2020,
chapter 18) keeps the verdict valid: equal arms stay equal when both are capped alike. What is
compared is then the mean of the capped reward, which the report says.

Falling back to another method once a reward breaks the range would not be valid: the first one,
right up to there, has spent its share of the error already.
"""

from __future__ import annotations

from mlops.rewards.base import Range


def is_within(value: float, bounds: Range | None) -> bool:
    """Whether a reward is in its range; always without one."""
    return bounds is None or bounds[0] <= value <= bounds[1]


def capped(value: float, bounds: Range | None) -> float:
    """Return the reward, or the end of the range that is nearest to it.

    >>> capped(7.0, (0.0, 5.0)), capped(3.0, (0.0, 5.0)), capped(7.0, None)
    (5.0, 3.0, 7.0)
    """
    return value if bounds is None else min(max(value, bounds[0]), bounds[1])
