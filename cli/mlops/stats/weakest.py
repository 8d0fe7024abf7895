"""What would turn a verdict: the smallest single reward not seen yet.

Symbols as in `scores` and `boundary`, and:
    m       further requests, at the present rate of evidence
    x       deviation of one reward of the candidate or the baseline from its arm's mean
    p       share of the arm in which it falls

An asymptotic sequence cannot know a reward that no arm has met. By the rule of three an event that
did not happen in n outcomes has, with 95 % confidence, a rate below 3 / n (Hanley, Lippman-Hand,
JAMA 249, 1983): so much may come, and more. This module says how large one such event must be:
after m more requests that go on as before, S has become S (1 + m / n) - h x / p and V has become
V (1 + m / n) + (h x)^2 max(1 / p^2, 1 / (p_k p_b)), and the smallest x that brings S within the
curve of V is the answer, or the smallest that by itself makes most of V, so that the sequence
closes (`burn_in`), if that is smaller. Nothing here is a test.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from mlops.stats.boundary import radius
from mlops.stats.burn_in import Opening
from mlops.stats.sequence import ConfidenceSequence


@dataclass(frozen=True, slots=True)
class TurningLoss:
    """The smallest single event that would undo the verdict.

    Attributes:
        loss: Size of it, in units of reward, off the mean of the arm in which it falls: a loss of
            the arm that leads, or as large a gain of the other.
        within: Requests within which it would come.
        unseen_rate: Rate per outcome of the smaller arm up to which an event may have stayed unseen
            so far, with 95 % confidence.
    """

    loss: float
    within: int
    unseen_rate: float


def turning_loss(
    found: ConfidenceSequence,
    shares: tuple[float, float],
    *,
    importance: float = 1.0,
    within: int = 1000,
) -> TurningLoss | None:
    """Find the smallest loss of the leading arm that would turn a decided verdict.

    Args:
        found: Sequence of one run that excludes 0 at its last look.
        shares: Present shares of the candidate and of the baseline, in (0, 1].
        importance: h of the next observations, as in `found`.
        within: m.

    Returns:
        The event, or None while the last look decides nothing.

    Raises:
        ValueError: If shares are not in (0, 1], or `within` is negative.

    >>> from mlops.stats.difference import difference_sequence
    >>> rng = np.random.default_rng(7)
    >>> arms = rng.integers(0, 2, 2000)
    >>> found = difference_sequence(arms, rng.normal(0.3 * arms), 0.5, candidate=1, baseline=0)
    >>> turning_loss(found, (0.5, 0.5)).loss > 10
    True
    """
    if not all(0 < share <= 1 for share in shares) or within < 0:
        raise ValueError(f"shares must be in (0, 1] and within not negative: {shares}, {within}")
    if not found.n.size or found.opening is None or not found.excludes()[-1]:
        return None
    n = int(found.n[-1])
    share = shares[0] if found.lower[-1] > 0 else shares[1]
    grown = 1 + within / n
    total, variance = abs(float(found.total[-1])) * grown, float(found.variance[-1]) * grown
    leverage = max(1 / share**2, 1 / (shares[0] * shares[1])) if min(shares) < 1 else 1.0

    def left(loss: float) -> float:
        """By how much S still exceeds the curve."""
        spread = np.asarray(variance + (importance * loss) ** 2 * leverage)
        rho2 = np.asarray(float(found.precision[-1]))
        return total - importance * loss / share - float(radius(spread, rho2, found.alpha))

    enough = total * share / importance
    loss = float(brentq(left, 0.0, enough)) if left(0.0) > 0 else 0.0
    lent = _closing(found.opening) * variance * shares[0] * shares[1]
    unseen = min(3 / float(found.opening.smallest()[-1]), 1.0)
    return TurningLoss(min(loss, math.sqrt(lent) / importance), within, unseen)


def _closing(opening: Opening) -> float:
    """Share of V so far that one outcome must add for too few effective ones to be left.

    With e effective outcomes of sum 1, the sum of squares is 1 / e; one more of size y leaves
    (1 + y)^2 / (1 / e + y^2).
    """
    least, effective = opening.least, float(opening.effective[-1])
    inside = 1 - (least - 1) * (least / effective - 1)
    return (1 + math.sqrt(max(inside, 0.0))) / (least - 1)
