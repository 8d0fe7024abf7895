"""Feedback that is missing: is it missing alike in all arms, and what if the silent ones differ?

Symbols, per stratum (revision) and arm k:
    a_k, c_k   requests asked, and answered, once their time to answer is over
    w_k        probability with which the arm was drawn

The test. If whether a request is answered does not depend on its arm, the arms of the answered ones
are drawn by w, and so are those of the silent ones, whatever the rate of answers is and however it
moves. Each set has the e-value of `sample_ratio` (Lindon, Malek, arXiv 2011.03567), martingales on
disjoint requests, so that their product is one too; the mean of the three is taken. Answered
requests alone see nothing where most answer (100 against 98 %), silent ones alone nothing where few
do. The idea of betting on two groups' rates is that of Turner, Ly, Grunwald (arXiv 2106.02693); the
known draw replaces their unknown common rate. Ever an alarm without cause: at most alpha.

Pass only requests whose window has closed: an arm that answers late looks like one that does not,
and while answers still come the counts of missing ones form no martingale. Where arms are not drawn
by w at all this alarms as well; `sample_ratio` says which it is.

A policy that learns has hundreds of strata with few requests each, and an e-value that begins again
in each of them learns nothing. From the second stratum on each set has the mean of that e-value and
of `tilted_log_evidence`, one bet on the odds of an arm that is kept over all of them, times the
e-value of the first stratum: the mean begins at 1 when that one ends, so that the product is a
martingale, too.

The weights. A policy that learns moves w, and answers come and go with time, so that the shares of
answered requests, and their means, are not those of all requests, and strata in which nobody
answers must not be left out. Each request is weighted by 1 / w_k of its arm and stratum, and sums
are divided by the sum of the weights (Hajek; Horvitz, Thompson, JASA 47, 1952). w is known before
the draw, so that both sums are unbiased for those of all requests under arm k, whatever the policy
learned from (Hadad et al., PNAS 118, 2021, arXiv 1911.02768). With one stratum the weights cancel.
A verdict's difference is not of all requests alike: a stratum counts by its importance h, the
precision that it adds (Li, Morgan, Zaslavsky, JASA 113, 2018). What silence does to it is seen by
the weights h / w_k, also known before the draw.

The bounds. Means of those who answer compare all requests only if the silent ones are like them.
    Manski (AER 80, 1990), of a randomised draw Horowitz and Manski (JASA 95, 2000): silent rewards
        anywhere in [lo, hi]. Linear in the rewards, so that weighted means and rates bound the mean
        of all requests: lo and hi in place of every silent reward.
    Lee (RES 76, 2009): responses of the arm that gets more of them are trimmed at the top, or the
        bottom, until the rates agree; bounds for those who respond in either arm. Assumes that the
        arm moves every unit's response in one direction, and a randomised draw. Weighted: the
        trimmed share is one of weight (Semenova, arXiv 2008.12720, with known propensities).
    Robust interval: the verdict's interval, moved outwards by what Lee's bounds leave open. The
        test takes some dozen silent requests to speak, an effect made by them may need fewer:
        a verdict stands only if it stands so.
    Tipping share: the part of one arm's silent requests which must have earned a bad reward for
        the verdict to be open again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlops.stats.sample_ratio import ALPHA, log_evidence, tilted_log_evidence

#: Weights of the answered requests of the candidate, and of the baseline; None for all alike.
Weights = tuple[NDArray[np.floating] | None, NDArray[np.floating] | None]


@dataclass(frozen=True, slots=True)
class MissingFeedback:
    """Evidence that arms get answers at different rates.

    Attributes:
        p_value: Anytime-valid, in (0, 1].
        differs: Whether `p_value` is at most alpha.
        alpha: Probability of a false alarm, ever.
        rates: Answered over asked, of each arm over all strata; nan where none was asked, (k,).
        weighted: The same with each request weighted by 1 / w, over the strata in which every arm
            with a rate may be drawn: these compare where the probabilities have changed, (k,); nan
            where there is no such stratum.
    """

    p_value: float
    differs: bool
    alpha: float
    rates: NDArray[np.float64]
    weighted: NDArray[np.float64]


def missing_feedback(
    asked: ArrayLike, answered: ArrayLike, weights: ArrayLike, *, alpha: float = ALPHA
) -> MissingFeedback:
    """Test whether answers are missing in all arms alike.

    Args:
        asked: Requests whose window has closed, per stratum and arm, shape (s, k) or (k,).
        answered: Those of them that were answered, same shape.
        weights: Probabilities of the arms, same shape, each row a distribution.
        alpha: Probability of a false alarm, ever.

    Returns:
        The test at this moment; it may be repeated at any time.

    Raises:
        ValueError: If shapes differ or counts are impossible.

    >>> missing_feedback([10_000, 10_000], [10_000, 9_800], [0.5, 0.5]).differs
    True
    >>> missing_feedback([10_000, 10_000], [510, 490], [0.5, 0.5]).differs
    False
    """
    all_of, some = (np.atleast_2d(each).astype(np.int64) for each in (asked, answered))
    shares = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if not all_of.shape == some.shape == shares.shape or (some < 0).any() or (some > all_of).any():
        raise ValueError(f"answered {some.tolist()} must be among asked {all_of.tolist()}")
    spoke, silent = _evidence(some, shares), _evidence(all_of - some, shares)
    log_e = np.logaddexp.reduce([spoke, silent, spoke + silent]) - np.log(3)
    p_value = float(np.exp(-max(log_e, 0.0)))
    total, answers = all_of.sum(axis=0), some.sum(axis=0)
    with np.errstate(invalid="ignore"):
        rates = answers / np.where(total > 0, total, np.nan)
    together = np.asarray((shares[:, total > 0] > 0).all(axis=1), dtype=np.float64)
    weighted = weighted_rates(all_of, some, shares, together)
    return MissingFeedback(p_value, p_value <= alpha, alpha, rates, weighted)


def _evidence(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> float:
    """Log e-value that arms of some requests are not drawn by the weights, over all strata."""
    each = [float(log_evidence(row, share)) for row, share in zip(counts, shares, strict=True)]
    if len(each) < 2:
        return sum(each)
    later = np.logaddexp(sum(each[1:]), tilted_log_evidence(counts[1:], shares[1:])) - np.log(2)
    return each[0] + float(later)


def weighted_rates(
    asked: NDArray[np.integer],
    answered: NDArray[np.integer],
    weights: NDArray[np.floating],
    importance: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Share of all requests that would be answered under each arm.

    Args:
        asked: Requests per stratum and arm, (s, k).
        answered: Those of them that were answered, (s, k).
        weights: Probabilities of the arms, (s, k).
        importance: What a request of each stratum counts, (s,); None for all alike.

    Returns:
        Of each arm, over the strata in which it may be drawn; nan where none was asked, (k,).

    >>> asked = np.array([[90, 10], [10, 90]])
    >>> weighted_rates(asked, asked * [[1], [0]], np.array([[0.9, 0.1], [0.1, 0.9]])).tolist()
    [0.5, 0.5]
    """
    counts = 1.0 if importance is None else importance[:, None]
    each = np.divide(counts, weights, out=np.zeros(weights.shape), where=weights > 0)
    total = (asked * each).sum(axis=0)
    share: NDArray[np.float64] = np.divide(
        (answered * each).sum(axis=0), total, out=np.full(total.shape, np.nan), where=total > 0
    )
    return share


def manski_bounds(
    means: tuple[float, float], rates: tuple[float, float], reward_range: tuple[float, float]
) -> tuple[float, float]:
    """Bounds of candidate minus baseline over all requests, whatever the silent ones earned.

    Args:
        means: Mean reward of the answered requests of the candidate and of the baseline, weighted
            where the probabilities have changed.
        rates: Share of requests answered, of each, in [0, 1], weighted likewise.
        reward_range: lo and hi.

    Returns:
        Lower and upper bound of the difference of means; no sampling error in them.

    >>> lower, upper = manski_bounds((0.5, 0.5), (0.9, 1.0), (0.0, 1.0))
    >>> round(lower, 3), round(upper, 3)
    (-0.05, 0.05)
    """
    low, high = reward_range
    if not all(0 <= rate <= 1 for rate in rates) or not low <= high:
        raise ValueError(f"rates must be in [0, 1] and the range in order: {rates}, {reward_range}")
    (ours, theirs), (r, s) = means, rates
    return (
        (ours * r + low * (1 - r)) - (theirs * s + high * (1 - s)),
        (ours * r + high * (1 - r)) - (theirs * s + low * (1 - s)),
    )


def lee_bounds(
    candidate: NDArray[np.floating],
    baseline: NDArray[np.floating],
    rates: tuple[float, float],
    weights: Weights | None = None,
) -> tuple[float, float]:
    """Bounds of candidate minus baseline among those who answer in either arm.

    Args:
        candidate: Rewards of its answered requests, shape (n,), n > 0.
        baseline: Rewards of the baseline's, shape (m,), m > 0.
        rates: Share of requests answered, of the candidate and the baseline, in (0, 1].
        weights: Of these requests, (n,) and (m,), positive; None where all of an arm count alike,
            which takes half of the memory.

    Returns:
        Lower and upper bound; no sampling error in them. Equal rates give the difference twice.

    Raises:
        ValueError: If an arm has no answer, or a rate is unknown.
    """
    # No comparison with nan is true.
    if not candidate.size or not baseline.size or not all(rate > 0 for rate in rates):
        raise ValueError("every arm needs an answer")
    ours, theirs = weights or (None, None)
    kept = min(rates) / max(rates)
    if rates[0] >= rates[1]:
        low, high = _trimmed(candidate, ours, kept)
        other = _mean(baseline, theirs)
        return low - other, high - other
    low, high = _trimmed(baseline, theirs, kept)
    other = _mean(candidate, ours)
    return other - high, other - low


def robust_interval(
    bounds: tuple[float, float],
    candidate: NDArray[np.floating],
    baseline: NDArray[np.floating],
    rates: tuple[float, float],
    weights: Weights | None = None,
) -> tuple[float, float]:
    """The interval of a difference, allowing for who may be missing.

    Args:
        bounds: Lower and upper bound from those who answered.
        candidate: Rewards of the candidate's answered requests, shape (n,).
        baseline: Rewards of the baseline's, shape (m,).
        rates: Share of requests answered, of the candidate and the baseline; nan if unknown.
        weights: As in `lee_bounds`.

    Returns:
        Bounds further out by how far Lee's bounds lie from the plain difference of means; the same
        bounds where the rates agree, where one is unknown, and where an arm has no answer yet.
    """
    if not candidate.size or not baseline.size or not all(rate > 0 for rate in rates):
        return bounds
    ours, theirs = weights or (None, None)
    low, high = lee_bounds(candidate, baseline, rates, (ours, theirs))
    plain = _mean(candidate, ours) - _mean(baseline, theirs)
    return bounds[0] - max(plain - low, 0.0), bounds[1] + max(high - plain, 0.0)


def _mean(values: NDArray[np.floating], weights: NDArray[np.floating] | None) -> float:
    return float(values.mean() if weights is None else weights @ values / weights.sum())


def _trimmed(
    values: NDArray[np.floating], weights: NDArray[np.floating] | None, kept: float
) -> tuple[float, float]:
    """Weighted mean of the lowest, and of the highest, share of the weight."""
    if weights is None:
        ordered = np.sort(values)
        return _lowest(ordered, None, kept), _lowest(ordered[::-1], None, kept)
    order = np.argsort(values)
    ordered, weights = values[order], weights[order]
    del order
    return _lowest(ordered, weights, kept), _lowest(ordered[::-1], weights[::-1], kept)


def _lowest(
    ordered: NDArray[np.floating], weights: NDArray[np.floating] | None, kept: float
) -> float:
    """Weighted mean of the first ones, up to this share of the weight; of the last of them a part.

    It takes sums of what is kept, not weights that are mostly 0: there may be millions.
    """
    if weights is None:
        part = kept * ordered.size
        whole = min(int(part), ordered.size - 1)
        inside, rest = float(ordered[:whole].sum()), part - whole
    else:
        sums = np.cumsum(weights)
        part = kept * float(sums[-1])
        whole = min(int(np.searchsorted(sums, part)), ordered.size - 1)
        rest = part - (float(sums[whole - 1]) if whole else 0.0)
        inside = float(weights[:whole] @ ordered[:whole])
    return (inside + rest * float(ordered[whole])) / part


def tipping_share(lead: float, mean: float, rate: float, bad: float) -> float | None:
    """The share of the leading arm's silent requests that must be bad for the lead to vanish.

    Args:
        lead: Distance of the verdict's bound from 0, in units of reward, not negative.
        mean: Mean reward of the leading arm's answered requests.
        rate: Share of its requests answered, in (0, 1].
        bad: Reward of a silent request that was bad; those that were not earned `mean`. Below
            `mean` where the candidate leads and its lower bound is asked about.

    Returns:
        A share in [0, 1], or None if not even all of them would do.

    >>> round(tipping_share(lead=0.01, mean=0.8, rate=0.5, bad=0.0), 3)
    0.025
    """
    if not 0 < rate <= 1 or lead < 0:
        raise ValueError(f"rate must be in (0, 1] and lead not negative: {rate}, {lead}")
    most = (1 - rate) * abs(mean - bad)
    return lead / most if lead <= most and most > 0 else None
