"""What another policy would have earned on logged decisions: estimators and diagnostics.

Symbols, at decision i of n:
    A, R     arm and reward
    p, pi    probabilities with which the logged and the other policy draw each arm
    w        pi(A) / p(A), importance weight
    m_a      a guess of arm a's mean reward, made from decisions before i only
    M_a      mean reward of arm a in the whole log
    c        importance of the decision in the average, known before its draw; mostly 1
    q        sum over arms of pi(a) m_a

    IPS        c w R over c                                     Horvitz, Thompson, JASA 47, 1952
    SNIPS      c w R over c w                                   Swaminathan, Joachims, NeurIPS 2015
    DR         c (q + w (R - m_A)) over c                       Dudik, Langford, Li, arXiv 1103.4601
    SWITCH-DR  DR with M, and w = 0 where w > tau               Wang et al., arXiv 1612.01205
    DRos       DR with M, and w / (1 + w^2 / lambda)            Su et al., arXiv 1907.09623

IPS and DR have no bias. SWITCH-DR and DRos give up some of that for less variance; tau and lambda
are those with the smallest estimated squared error. With D the difference to the estimate with true
weights, D^2 less the variance of D estimates the squared bias (0 where that is negative).

Every estimator is a ratio of sums, sum x over sum y, and its variance that of the residuals
x - theta y (delta method). A smaller weight leaves more to M_a, whose error is that of arm a's
rewards: R_j - M_a then moves the estimate by c w / sum c plus a share of what M_a still carries,

    (sum of c pi(a) - sum over A = a of c w) / (n_a sum c).

d = (x - theta y)^2 has (sum d)^2 / sum d^2 = e effective values: the
variance is known to about 1 / e, so the interval is Student's with 2 e degrees of freedom
(Satterthwaite), and there is none at all below `_KNOWN`. Intervals hold at one look, and are
asymptotic. A bias of about a standard error goes unseen, so those of SWITCH-DR and DRos take in the
interval of the same estimate with true weights, which has none. `at_every_look` holds at every
look, also where the logged policy learns; `dr_bounded` at every look and sample size, for a reward
with a range. What none of them cures is a reward that no logged decision has met.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mlops.stats.aipw import PRIOR_OUTCOMES, WARM_UP
from mlops.stats.burn_in import MIN_EFFECTIVE, Opening, effective_outcomes
from mlops.stats.capital import bound
from mlops.stats.sequence import sequence

Floats = NDArray[np.float64]

Guarantee = Literal["asymptotic", "asymptotic, at every look", "exact, at every look"]

#: Probability that the test of the mean weight speaks without cause, ever.
WEIGHT_ALPHA = 0.01
_GRID = 12
_KNOWN = 5.0
#: Share of alpha for scales that are larger than the first; and what counts as rounding, of log2.
_DOUBLED, _SAME_SCALE = 0.2, 1e-9
# As in `burn_in`: squared residuals below this share of the raw ones are rounding error.
_ROUNDING = 1e-18


@dataclass(frozen=True, slots=True)
class Replayed:
    """Logged decisions as the other policy sees them, n in the order of their draws.

    Attributes:
        arms: A, (n,), 0 to k - 1.
        rewards: R, (n,).
        weights: w, (n,), not negative.
        guesses: m_A, (n,): guess of the reward of the arm that answered.
        expected: q, (n,).
        importance: c, (n,), not negative.
        largest: The largest that c w could have been at each decision, whatever was drawn, (n,).
        drawn: Sum of c pi(a), (k,).
    """

    arms: NDArray[np.integer]
    rewards: Floats
    weights: Floats
    guesses: Floats
    expected: Floats
    importance: Floats
    largest: Floats
    drawn: Floats


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of a mean reward per decision.

    Attributes:
        estimator: How it was made.
        value: The estimate.
        lower: Lower bound; -inf where the variance is not known yet.
        upper: Upper bound.
        guarantee: Of the interval.
        tuning: tau or lambda; None where there is none, inf where it is as DR.
    """

    estimator: str
    value: float
    lower: float
    upper: float
    guarantee: Guarantee
    tuning: float | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """What the weights say about an estimate.

    Attributes:
        effective: Effective sample size, (sum cw)^2 / sum (cw)^2 (Kish).
        largest_share: Share of the largest weight in their sum.
        mean: Mean weight, sum cw / sum c; 1 in expectation.
        lower: Lower bound of its expectation, at every look, exact.
        upper: Upper bound.
        plausible: Whether 1 is between them: if not, propensities are not those that were logged,
            or feedback is missing in some arms more than in others.
    """

    effective: float
    largest_share: float
    mean: float
    lower: float
    upper: float
    plausible: bool


class RunningMeans:
    """Guesses every arm's mean reward from what came before.

    That is the mean of its rewards so far, pulled towards the mean of all arms with the weight of
    `prior` rewards.

    Args:
        k: Number of arms.
        prior: Not negative.
    """

    def __init__(self, k: int, prior: float = PRIOR_OUTCOMES) -> None:
        self._counts, self._totals = np.zeros(k), np.zeros(k)
        self._prior = prior

    def take(self, arms: NDArray[np.integer], rewards: Floats) -> Floats:
        """Return the guesses before each of m decisions, (m, k), and take these in."""
        m, k = rewards.size, self._counts.size
        count, total = float(self._counts.sum()), float(self._totals.sum())
        seen = count + np.arange(m, dtype=np.float64)
        pooled = (total + np.cumsum(rewards) - rewards) / np.maximum(seen, 1.0)
        found = np.empty((m, k))
        for arm in range(k):
            own = np.where(arms == arm, 1.0, 0.0)
            counts = self._counts[arm] + np.cumsum(own)
            totals = self._totals[arm] + np.cumsum(own * rewards)
            found[:, arm] = totals - own * rewards + self._prior * pooled
            found[:, arm] /= np.maximum(counts - own + self._prior, 1e-300)
            if m:
                self._counts[arm], self._totals[arm] = counts[-1], totals[-1]
        return found


def effective_size(weights: Floats) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2; 0 where all are 0.

    >>> effective_size(np.array([1.0, 1.0, 0.0, 0.0]))
    2.0
    """
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def ratio(x: Floats, y: Floats, estimator: str, alpha: float) -> Estimate:
    """Estimate sum x / sum y of independent pairs, or of martingale differences x - theta y.

    Args:
        x: Numerators, (n,).
        y: Denominators, (n,), not negative.
        estimator: Its name.
        alpha: Probability that the interval misses.

    >>> found = ratio(np.array([0.0, 1.0] * 50), np.ones(100), "mean", 0.05)
    >>> round(found.value, 3), round(found.upper, 3)
    (0.5, 0.599)
    """
    mass = float(y.sum())
    if not mass > 0:
        return Estimate(estimator, math.nan, -math.inf, math.inf, "asymptotic")
    value = float(x.sum()) / mass
    return _interval(value, (x - value * y) / mass, x / mass, estimator, alpha)


def _interval(value: float, moved: Floats, raw: Floats, estimator: str, alpha: float) -> Estimate:
    """Return an estimate with the interval that its influence function gives.

    Args:
        value: The estimate.
        moved: By how much each decision moves it, (n,).
        raw: The same without subtracting a mean, (n,): what counts as rounding error.
        estimator: Its name.
        alpha: Probability that the interval misses.
    """
    spread = moved**2
    effective = effective_size(spread) if spread.sum() > _ROUNDING * float(raw @ raw) else 0.0
    if effective < _KNOWN:
        return Estimate(estimator, value, -math.inf, math.inf, "asymptotic")
    wide = float(special.stdtrit(2 * effective, 1 - alpha / 2)) * math.sqrt(float(spread.sum()))
    return Estimate(estimator, value, value - wide, value + wide, "asymptotic")


def estimate(seen: Replayed, alpha: float) -> list[Estimate]:
    """Estimate the mean reward of the other policy in all ways, each with its interval.

    Args:
        seen: The decisions.
        alpha: Probability that an interval misses.

    Returns:
        IPS, SNIPS, DR, SWITCH-DR and DRos.
    """
    c, w, r = seen.importance, seen.weights, seen.rewards
    return [
        ratio(c * w * r, c, "IPS", alpha),
        ratio(c * w * r, c * w, "SNIPS", alpha),
        ratio(scores(seen), c, "DR", alpha),
        switched(seen, alpha),
        shrunk(seen, alpha),
    ]


def scores(seen: Replayed) -> Floats:
    """Return c (q + w (R - m_A)), (n,)."""
    return seen.importance * (seen.expected + seen.weights * (seen.rewards - seen.guesses))


def switched(seen: Replayed, alpha: float) -> Estimate:
    """Estimate by SWITCH-DR, with tau from the quantiles of the weights."""
    drawn = seen.weights[seen.weights > 0]
    taus = np.unique(np.quantile(drawn, np.linspace(0, 1, _GRID))) if drawn.size else np.zeros(1)
    ways = [(float(tau), switch(seen.weights, tau)) for tau in taus[-2::-1]]
    return _least_error([(math.inf, seen.weights), *ways], seen, "SWITCH-DR", alpha)


def shrunk(seen: Replayed, alpha: float) -> Estimate:
    """Estimate by DRos, with lambda from a grid around the largest squared weight."""
    top = float(seen.weights.max(initial=1.0)) ** 2
    ways = [
        (float(each), shrink(seen.weights, float(each)))
        for each in np.geomspace(1000 * top, 0.01 * top, _GRID)
    ]
    return _least_error([(math.inf, seen.weights), *ways], seen, "DRos", alpha)


def switch(weights: Floats, tau: float) -> Floats:
    """Return w where it is at most tau, else 0, (n,)."""
    return np.where(weights > tau, 0.0, weights)


def shrink(weights: Floats, lambda_: float) -> Floats:
    """Return lambda w / (w^2 + lambda), (n,).

    >>> shrink(np.array([1.0, 2.0]), 4.0).tolist()
    [0.8, 1.0]
    """
    return np.asarray(lambda_ * weights / (weights**2 + lambda_))


def doubly_robust(
    seen: Replayed, weights: Floats, estimator: str, alpha: float
) -> tuple[Estimate, Floats]:
    """Estimate by DR with the arms' means in the whole log, and weights that may be smaller.

    Args:
        seen: The decisions.
        weights: Used instead of w, (n,).
        estimator: Its name.
        alpha: Probability that the interval misses.

    Returns:
        The estimate, and by how much each decision moves it, (n,).
    """
    k, mass = seen.drawn.size, float(seen.importance.sum())
    if not mass > 0:
        none = Estimate(estimator, math.nan, -math.inf, math.inf, "asymptotic")
        return none, np.zeros(seen.rewards.size)
    counts = np.maximum(np.bincount(seen.arms, minlength=k), 1)
    means = np.bincount(seen.arms, seen.rewards, minlength=k) / counts
    residuals = seen.rewards - means[seen.arms]
    used = seen.importance * weights / mass
    left = (seen.drawn / mass - np.bincount(seen.arms, used, minlength=k)) / counts
    value = float(seen.drawn @ means) / mass + float(used @ residuals)
    carried = used + left[seen.arms]
    moved = carried * residuals
    return _interval(value, moved, carried * seen.rewards, estimator, alpha), moved


def _least_error(
    candidates: Sequence[tuple[float, Floats]], seen: Replayed, estimator: str, alpha: float
) -> Estimate:
    """Choose the tuning with the smallest estimated squared error; the first has no bias."""
    unbiased, exact = doubly_robust(seen, candidates[0][1], estimator, alpha)
    best, least = replace(unbiased, tuning=candidates[0][0]), float(exact @ exact)
    for tuning, weights in candidates[1:]:
        found, moved = doubly_robust(seen, weights, estimator, alpha)
        apart = moved - exact
        bias = max((found.value - unbiased.value) ** 2 - float(apart @ apart), 0.0)
        error = bias + float(moved @ moved)
        if error < least:
            best, least = replace(found, tuning=tuning), error
    return replace(
        best, lower=min(best.lower, unbiased.lower), upper=max(best.upper, unbiased.upper)
    )


def at_every_look(seen: Replayed, alpha: float) -> Estimate:
    """Estimate by DR with an interval that holds at every look, however decisions were drawn."""
    residuals = seen.weights * (seen.rewards - seen.guesses)
    return _sequence(seen, seen.expected, residuals, alpha, "DR")


def gains(seen: Replayed, served: Floats, alpha: float) -> list[Estimate]:
    """Estimate what the other policy earns more than what was served, on the same decisions.

    Args:
        seen: The decisions.
        served: sum over arms of p(a) m_a, (n,): guess of what was earned.
        alpha: Probability that an interval misses.

    Returns:
        DR at this look, and at every look.
    """
    more = scores(seen) - seen.importance * seen.rewards
    residuals = seen.weights * (seen.rewards - seen.guesses) - (seen.rewards - served)
    return [
        ratio(more, seen.importance, "DR", alpha),
        _sequence(seen, seen.expected - served, residuals, alpha, "DR"),
    ]


def _sequence(
    seen: Replayed, known: Floats, residuals: Floats, alpha: float, estimator: str
) -> Estimate:
    """Bound the mean of known + residuals by the sequences of arXiv 2103.06476.

    Args:
        seen: The decisions.
        known: What is known of each score before its draw, (n,).
        residuals: The rest, of mean 0 if that is right, (n,).
        alpha: Probability that the interval ever misses.
        estimator: Its name.
    """
    scored = np.arange(residuals.size) >= WARM_UP
    known, residuals = np.where(scored, known, 0.0), np.where(scored, residuals, 0.0)
    c = seen.importance
    added = (c * residuals) ** 2
    effective = effective_outcomes(added, (c * seen.weights * seen.rewards) ** 2)
    drawn = np.cumsum((seen.weights > 0) & (c > 0), dtype=np.float64)
    opening = Opening((0,), (drawn,), effective, MIN_EFFECTIVE)
    found = sequence(known + residuals, np.cumsum(added), c, opening, alpha)
    return _last(found.estimate, found.lower, found.upper, "asymptotic, at every look", estimator)


def dr_bounded(seen: Replayed, reward_range: tuple[float, float], alpha: float) -> Estimate:
    """Estimate by DR with an interval that is exact at every look and sample size.

    Args:
        seen: The decisions; guesses are inside of the range.
        reward_range: Lowest and highest reward, declared before looking.
        alpha: Probability that the interval ever misses.
    """
    mass = float(seen.importance.sum())
    if not mass > 0:
        return Estimate("DR", math.nan, -math.inf, math.inf, "exact, at every look")
    most = (reward_range[1] - reward_range[0]) * seen.largest
    residuals = seen.importance * seen.weights * (seen.rewards - seen.guesses)
    total = float(seen.importance @ seen.expected) + float(residuals.sum())
    below, above = _edges(residuals, most, alpha)
    return Estimate(
        "DR", total / mass, (total - below) / mass, (total + above) / mass, "exact, at every look"
    )


def weights_of(seen: Replayed) -> Weights:
    """Describe the weights, and test that their mean is 1."""
    c = seen.importance
    cw = c * seen.weights
    total, mass = float(cw.sum()), float(c.sum())
    if not mass > 0:
        return Weights(0.0, 0.0, math.nan, -math.inf, math.inf, True)
    # c (w - 1) has mean 0 at each draw.
    below, above = _edges(cw - c, np.maximum(seen.largest, c), WEIGHT_ALPHA)
    lower, upper = (total - below) / mass, (total + above) / mass
    return Weights(
        effective=effective_size(cw),
        largest_share=float(cw.max()) / total if total else 0.0,
        mean=total / mass,
        lower=lower,
        upper=upper,
        plausible=lower <= 1 <= upper,
    )


def _edges(values: Floats, most: Floats, alpha: float) -> tuple[float, float]:
    """How far a sum may be above, and below, that of its conditional means, ever.

    The bets of `mlops.stats.capital`, each side with half of alpha, at the last look only. Bets are
    for one scale, so one that follows the largest weight so far would not hold at every look.
    Scales are the first value of `most`, known before any draw, and its doublings; each has a share
    of alpha, and the smallest that still bounds everything is used.

    Args:
        values: In [-most, most], (n,).
        most: What was known to bound each before its draw, (n,), not negative; not all 0.
        alpha: Probability that it ever is further.
    """
    scale, alpha = _scale(most, alpha)
    second, third, fourth = (np.array([float((values**power).sum())]) for power in (2, 3, 4))
    above, below = (
        float(bound((second, sign * third, fourth), scale, alpha / 2)[0]) for sign in (1, -1)
    )
    return above, below


def _scale(most: Floats, alpha: float) -> tuple[float, float]:
    """Return the scale of the bets, and its share of alpha; all shares sum to alpha.

    >>> _scale(np.array([0.0, 2.0, 5.0]), 0.05)[0]
    8.0
    """
    first, top = float(most[np.argmax(most > 0)]), float(most.max())
    doublings = max(math.ceil(math.log2(top / first) - _SAME_SCALE), 0)
    if not doublings:
        return top, (1 - _DOUBLED) * alpha
    return max(first * 2.0**doublings, top), _DOUBLED * alpha / (doublings * (doublings + 1))


def _last(
    value: Floats, lower: Floats, upper: Floats, guarantee: Guarantee, estimator: str = "DR"
) -> Estimate:
    if not value.size:
        return Estimate(estimator, math.nan, -math.inf, math.inf, guarantee)
    return Estimate(estimator, float(value[-1]), float(lower[-1]), float(upper[-1]), guarantee)
