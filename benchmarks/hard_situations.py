"""Situations in which equal arms used to be promoted, each looked at forty times.

Each function simulates one run of n decisions in four weeks between arms that are equal (or of
which the second is worse) and returns whether the verdict ever named a winner, and the reason why
it was withheld, if it was. "Withheld" is a gate that the product has: sample ratio, missing
feedback, selective labels, an effect that changes. A wrong verdict counts only at a look at which
no gate had spoken; situations with a gate are looked at from the end of the first week.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hard_rewards import Draw
from numpy.typing import NDArray

from mlops.stats.aipw import arm_scores, observations, overlap
from mlops.stats.arm_mean import mean_sequence
from mlops.stats.difference import difference_sequence
from mlops.stats.missing import missing_feedback, robust_interval
from mlops.stats.paired import TIGHTEST_AT, labels_depend
from mlops.stats.sample_ratio import sample_ratio
from mlops.stats.sequence import ConfidenceSequence
from mlops.stats.time_effect import effect_over_time

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LOOKS = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: whether a winner was ever named, whether a gate spoke, and which."""

    wrong: bool
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """What every situation gets: the reward, its standard deviation, b's share, decisions."""

    draw: Draw
    deviation: float
    share: float
    n: int


def arms_of(rng: np.random.Generator, share: Floats | float, n: int) -> Ints:
    return (rng.random(n) < share).astype(np.int64)


def compare(arms: Ints, rewards: Floats, share: Floats | float) -> ConfidenceSequence:
    both = np.broadcast_to(np.asarray(share, dtype=np.float64), arms.shape)
    return difference_sequence(
        arms, rewards, np.where(arms == 1, both, 1 - both),
        candidate=1, baseline=0, importance=overlap(both, 1 - both),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Units:
    """Sticky units in the order of their first decisions: index of that, and mean reward."""

    first: Ints
    rewards: Floats


def once(units: Ints, revisions: Ints, rewards: Floats) -> Units:
    """Count every unit once, in its first revision, as `mlops.monitoring.units` does."""
    _, first, code = np.unique(units, return_index=True, return_inverse=True)
    own = revisions == revisions[first][code]
    n = np.bincount(code[own], minlength=first.size)
    total = np.bincount(code[own], weights=rewards[own], minlength=first.size)
    order = np.argsort(first, kind="stable")
    return Units(first[order].astype(np.int64), total[order] / n[order])


def looks(n: int) -> Ints:
    return np.unique(np.linspace(n // 4, n, LOOKS).astype(np.int64)) - 1


def plain(rng: np.random.Generator, s: Setting) -> Outcome:
    arms = arms_of(rng, s.share, s.n)
    found = compare(arms, s.draw(rng, (s.n,)), s.share)
    return Outcome(bool(found.excludes().any()))


def sticky_ramp(rng: np.random.Generator, s: Setting) -> Outcome:
    """Weights go to 50/50; three quarters of the users return and are better by a third of a sd."""
    old, fresh = int(0.6 * s.n), int(0.15 * s.n)
    arm = np.concatenate([arms_of(rng, s.share, old), arms_of(rng, 0.5, fresh)])
    back = rng.permutation(
        np.concatenate([rng.permutation(old)[: s.n // 4], old + np.arange(fresh)])
    )
    units = np.concatenate([np.arange(old), back])
    revisions = (np.arange(units.size) >= old).astype(np.int64)
    rewards = s.draw(rng, units.shape) + s.deviation / 3 * ((revisions == 1) & (units < old))
    found = once(units, revisions, rewards)
    share = np.where(revisions[found.first] == 0, s.share, 0.5)
    sequence = compare(arm[units[found.first]], found.rewards, share)
    return Outcome(bool(sequence.excludes().any()))


def returning_units(rng: np.random.Generator, s: Setting) -> Outcome:
    """A fifth as many units as requests, of very different levels; means move while they return."""
    units_n = s.n // 5
    units = (rng.random(s.n) * np.minimum(np.arange(s.n) // 2 + 1, units_n)).astype(np.int64)
    level = rng.normal(0, s.deviation, units_n)
    arm = arms_of(rng, s.share, units_n)
    rewards = s.draw(rng, (s.n,)) + level[units]
    for end in looks(s.n)[::2] + 1:
        found = once(units[:end], np.zeros(end, dtype=np.int64), rewards[:end])
        drawn = arm[units[:end][found.first]]
        if compare(drawn, found.rewards, s.share).excludes()[-1]:
            return Outcome(True)
    return Outcome(False)


def season(rng: np.random.Generator, s: Setting) -> Outcome:
    """Weights go to 50/50 halfway, where all rewards rise by half a standard deviation."""
    late = np.arange(s.n) >= s.n // 2
    share = np.where(late, 0.5, s.share)
    arms = arms_of(rng, share, s.n)
    found = compare(arms, s.draw(rng, (s.n,)) + s.deviation / 2 * late, share)
    return Outcome(bool(found.excludes().any()))


def gated(
    rng: np.random.Generator, s: Setting, answered: Callable[[Ints, Floats], NDArray[np.bool_]]
) -> Outcome:
    """Feedback comes where `answered` says so; the gate compares the rates of the arms."""
    arms, rewards = arms_of(rng, s.share, s.n), s.draw(rng, (s.n,))
    known = answered(arms, rewards)
    if not known.any():
        return Outcome(False)
    found = compare(arms[known], rewards[known], s.share)
    excluded = found.excludes()
    for end in looks(s.n) + 1:
        asked = np.bincount(arms[:end], minlength=2)
        told = np.bincount(arms[:end][known[:end]], minlength=2)
        if missing_feedback(asked, told, [1 - s.share, s.share]).differs:
            return Outcome(False, "missing feedback")
        last = told.sum() - 1
        if last >= 0 and excluded[last]:
            got, seen = rewards[:end][known[:end]], arms[:end][known[:end]]
            low, high = robust_interval(
                (float(found.lower[last]), float(found.upper[last])),
                got[seen == 1], got[seen == 0], (told[1] / asked[1], told[0] / asked[0]),
            )  # fmt: skip
            if low > 0 or high < 0:
                return Outcome(True)
            return Outcome(False, "not robust to who is missing")
    return Outcome(False)


def missing_by_arm(rng: np.random.Generator, s: Setting) -> Outcome:
    """b fails on the hardest of its requests: its lowest rewards, up to 4 %, never come."""

    def answered(arms: Ints, rewards: Floats) -> NDArray[np.bool_]:
        jittered = rewards + 1e-9 * s.deviation * rng.random(rewards.size)
        lost: NDArray[np.bool_] = (arms == 1) & (jittered < np.quantile(jittered, 0.04))
        return ~lost

    return gated(rng, s, answered)


def positives_only(rng: np.random.Generator, s: Setting) -> Outcome:
    """Only rewards above the median or 0 are told; silence counts as the least there is."""
    arms, rewards = arms_of(rng, s.share, s.n), s.draw(rng, (s.n,))
    threshold = max(float(np.median(rewards)), 0.0)
    found = compare(arms, np.where(rewards > threshold, rewards, threshold), s.share)
    return Outcome(bool(found.excludes().any()))


def delayed_by_arm(rng: np.random.Generator, s: Setting) -> Outcome:
    """Good outcomes of b come sooner; a decision counts when its window closes."""
    arms, rewards = arms_of(rng, s.share, s.n), s.draw(rng, (s.n,))
    delay = (
        rng.exponential(np.where((arms == 1) & (rewards > np.median(rewards)), 0.02, 0.08)) * s.n
    )
    window = 0.25 * s.n
    told = delay < window
    closed = int(s.n - window)
    found = compare(arms[:closed][told[:closed]], rewards[:closed][told[:closed]], s.share)
    asked = np.bincount(arms[:closed], minlength=2)
    counted = np.bincount(arms[:closed][told[:closed]], minlength=2)
    if missing_feedback(asked, counted, [1 - s.share, s.share]).differs:
        return Outcome(False, "missing feedback")
    return Outcome(bool(found.excludes().any()))


def selective_truth(rng: np.random.Generator, s: Setting) -> Outcome:
    """Pairs, truth known only where the served answer was acted on."""
    truth = s.draw(rng, (s.n,))
    acts = rng.random((s.n, 2)) < 0.5 + 0.3 * (truth > np.median(truth))[:, None]
    arms = arms_of(rng, s.share, s.n)
    labelled = acts[np.arange(s.n), arms]
    gap = truth * (acts[:, 1].astype(np.float64) - acts[:, 0])
    shares = np.tile([1 - s.share, s.share], (s.n, 1))
    pattern = acts[:, 1].astype(np.int64) - acts[:, 0]
    if labels_depend(arms, shares, labelled, pattern).depend:
        return Outcome(False, "labels depend on the answer")
    found = mean_sequence(gap[labelled], tightest_at=TIGHTEST_AT)
    return Outcome(bool(found.excludes()[-1]))


def novelty(rng: np.random.Generator, s: Setting) -> Outcome:
    """b is half a sd better, which halves every five days, and settles a tenth below a.

    Wrong is to promote it once it is worse by a twentieth.
    """
    days = 28
    day = np.arange(s.n) * days // s.n
    arms = arms_of(rng, s.share, s.n)
    effect = s.deviation * (0.5 * 0.5 ** (day / 5) - 0.1)
    rewards = s.draw(rng, (s.n,)) + effect * arms
    found = compare(arms, rewards, s.share)
    seen = observations(arms, rewards, np.where(arms == 1, s.share, 1 - s.share), 1.0)
    ours, theirs = arm_scores(seen, 1), arm_scores(seen, 0)
    residuals = ours.residuals - theirs.residuals
    scores = ours.plug_in - theirs.plug_in + residuals
    withheld = ""
    total, spread, mass = (
        np.bincount(day, w).astype(np.float64) for w in (scores, residuals**2, np.ones(s.n))
    )
    for last in range(7, days + 1):
        test = effect_over_time(total[:last], mass[:last], spread[:last])
        end = int(np.searchsorted(day, last)) - 1
        if found.lower[end] <= 0:
            continue
        if test.fades:
            withheld = "the effect fades"
        elif effect[end] < -s.deviation / 20:
            return Outcome(True)
    return Outcome(False, withheld)


def retries(rng: np.random.Generator, s: Setting) -> Outcome:
    """15 % of b's requests are sent again, and drawn again, those with the better rewards."""
    arms, rewards = arms_of(rng, s.share, s.n), s.draw(rng, (s.n,))
    twice = (arms == 1) & (rewards >= np.median(rewards)) & (rng.random(s.n) < 0.3)
    again = np.flatnonzero(twice)
    order = np.argsort(np.concatenate([np.arange(s.n), again + 0.5]), kind="stable")
    arms = np.concatenate([arms, np.ones(again.size, dtype=np.int64)])[order]
    rewards = np.concatenate([rewards, rewards[again]])[order]
    excluded = compare(arms, rewards, s.share).excludes()
    for end in looks(arms.size) + 1:
        ratio = sample_ratio(np.bincount(arms[:end], minlength=2), [1 - s.share, s.share])
        if ratio.mismatch:
            return Outcome(False, "sample ratio")
        if excluded[end - 1] and not ratio.doubtful:
            return Outcome(True)
    return Outcome(False)


def arm_added(rng: np.random.Generator, s: Setting) -> Outcome:
    """A third arm takes a fifth of the traffic from halfway on, where all rewards rise."""
    late = np.arange(s.n) >= s.n // 2
    taken = np.where(late, 0.2, 0.0)
    ours, theirs = s.share * (1 - taken), (1 - s.share) * (1 - taken)
    u = rng.random(s.n)
    arms = np.where(u < ours, 1, np.where(u < ours + theirs, 0, 2)).astype(np.int64)
    chosen = np.select([arms == 1, arms == 0], [ours, theirs], np.maximum(taken, 0.2))
    found = difference_sequence(
        arms, s.draw(rng, (s.n,)) + s.deviation / 2 * late, chosen, candidate=1, baseline=0,
        importance=overlap(ours, theirs), shares=(ours, theirs),
    )  # fmt: skip
    return Outcome(bool(found.excludes().any()))


def pause(rng: np.random.Generator, s: Setting) -> Outcome:
    """Traffic stops halfway and comes back with all rewards lower by a standard deviation."""
    arms = arms_of(rng, s.share, s.n)
    late = np.arange(s.n) >= s.n // 2
    found = compare(arms, s.draw(rng, (s.n,)) - s.deviation * late, s.share)
    return Outcome(bool(found.excludes().any()))


SITUATIONS: dict[str, Callable[[np.random.Generator, Setting], Outcome]] = {
    "plain": plain,
    "sticky ramp": sticky_ramp,
    "returning units": returning_units,
    "season": season,
    "missing by arm": missing_by_arm,
    "selective truth": selective_truth,
    "delayed by arm": delayed_by_arm,
    "positives only": positives_only,
    "novelty": novelty,
    "retries": retries,
    "arm added": arm_added,
    "pause": pause,
}
