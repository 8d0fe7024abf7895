"""Everything known about one experiment, as arrays that statistics work on.

Revisions with the same arms and reward are one experiment. Their evidence is combined by
propensity, never pooled: pooling 90/10 with 50/50 while the base rate moves rejects equal arms.
What a unit is, which feedback counts for it and the order of units is defined in
`mlops.monitoring.units`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.caps import Caps
from mlops.journal.records import Traffic
from mlops.journal.terms import terms_of
from mlops.monitoring.asked import Asked, AskedCounts
from mlops.monitoring.columns import StickyError, are_requests, count_requests
from mlops.monitoring.epochs import InForce, in_force
from mlops.monitoring.experiment import (
    Experiment,
    Finished,
    begin_ms,
    newest_experiment,
)
from mlops.monitoring.outcomes import OutcomeTally, Underived
from mlops.monitoring.truths import Truth, Truths
from mlops.monitoring.units import Units, fold
from mlops.rewards import Range, Terms, reward_called, reward_range, within_floats
from mlops.spec.analysis import Analysis, Per
from mlops.spec.deployment import DeploymentSpec
from mlops.stats.adjusted import ratio_rewards

__all__ = ["Evidence", "Finished", "Truth", "Underived", "bounds_of", "gather"]


_BY_REQUEST = (
    "Arms are drawn by the request: a weight is that of a request with mean features, and the "
    "difference is over all requests alike."
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known about one experiment with k arms; n units have a reward.

    Attributes:
        spec: Spec of its newest revision.
        base: Position of the arm that the others are compared with.
        revisions: Numbers of its revisions, oldest first.
        weights: Probabilities of the arms in each policy epoch of these revisions, in their order,
            (s, k); a revision of fixed weights has one.
        epochs: Revision and number of each of these policy epochs, s in all.
        groups: Of each, the first among which a request's own features choose, (s,); itself where
            they do not.
        traffic: Decisions per revision and arm.
        arms: Arm of each unit, (n,).
        rewards: Reward of each unit, (n,), inside `bounds`.
        bounds: Range of the reward, declared or its own; None if it has none.
        propensities: Probability with which its arm was drawn, (n,).
        strata: Row of `weights` by which the arm of each unit was drawn, (n,).
        times_ms: When each unit was counted, (n,), milliseconds since 1970 in UTC: when its
            first outcome arrived, or, with a feedback window, when its first request did.
        units: Which unit it is, as in `monitoring.units.Units.keys`, (n,).
        nonces: Of each unit's first request, (n,).
        asked: All units, with or without feedback, counted.
        everybody: Each of them; None where nothing needs more than the counts.
        terms: What the reward needs of each arm.
        truths: Truths that met their predictions.
        outcomes: Outcomes with a reward, of each arm; units have one or more.
        underived: Outcomes whose reward could not be derived, the most frequent reason first.
        capped: Outcomes, or units, whose reward was outside the range, and counts as its nearest
            end.
        extreme: Outcomes whose reward is above the largest accepted, and counts as that.
        voided: Outcomes that were voided; they are not counted.
        late: Outcomes that arrived when their revision was no longer live.
        left_out: Outcomes that are not counted: of units that came under an earlier revision, too
            late for their window, of a request that is not known.
        before: Units of the same experiment that are left out, from before it was last ended or
            from before a long gap.
        now_ms: When the look was taken, milliseconds since 1970 in UTC.
        notes: Notes in the journal for readers of the report.
        lost: Decisions shed under load, in all experiments of the deployment.
        finished: What is live instead; None while the experiment continues.
        since_ms: Requests from before this are not taken, milliseconds since 1970 in UTC.
        over_caps: What caps on outcomes left out, a sentence each.
        adjusted: What rewards were adjusted by: `history`, or a feature; empty for nothing.
        sums: Sum of rewards of each unit and what it is divided by, (2, n), of which `rewards` are
            the linearised ratios; None where units have means.
    """

    spec: DeploymentSpec
    base: int
    revisions: tuple[int, ...]
    weights: NDArray[np.float64]
    epochs: tuple[tuple[int, int], ...]
    groups: NDArray[np.int64]
    traffic: tuple[Traffic, ...]
    arms: NDArray[np.int64]
    rewards: NDArray[np.float64]
    bounds: Range | None
    propensities: NDArray[np.float64]
    strata: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    units: NDArray[np.bytes_]
    nonces: NDArray[np.bytes_]
    asked: AskedCounts
    everybody: Asked | None
    terms: tuple[Terms, ...]
    truths: Truths
    outcomes: tuple[int, ...]
    underived: tuple[Underived, ...]
    capped: int
    extreme: int
    voided: int
    late: int
    left_out: tuple[int, int, int]
    before: int
    now_ms: int
    notes: tuple[str, ...]
    lost: int
    finished: Finished | None = None
    since_ms: int = 0
    over_caps: tuple[str, ...] = ()
    adjusted: str = ""
    sums: NDArray[np.float64] | None = None


def gather(
    journal: Journal,
    *,
    baseline: str = "",
    whole: bool = False,
    now_ms: int | None = None,
    reward: str = "",
) -> Evidence:
    """Fold the journal into the evidence of its newest experiment.

    Args:
        journal: Where the evidence is; only read.
        baseline: Arm the others are compared with; empty for the first.
        whole: Take all evidence of the experiment, also from before it was last ended and from
            before long gaps.
        now_ms: When the look is taken, milliseconds since 1970 in UTC; now by default.
        reward: A built-in reward, in place of the experiment's own.

    Raises:
        NotFoundError: Nothing was deployed with this journal.
        InvalidInputError: There is no arm called `baseline`.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    events = journal.revision_events()
    experiment = newest_experiment(events, whole=whole)
    spec = experiment.spec
    if reward:
        spec = replace(spec, reward=reward, reward_range=None, analysis=Analysis())
    traffic = journal.traffic()
    terms = terms_of(events, spec)
    forces = in_force(journal, experiment)

    def tally() -> OutcomeTally:
        bounds = bounds_of(spec, terms)
        return OutcomeTally(reward_called(spec.reward), terms, bounds, experiment.ended_ms)

    common = _Common(
        journal, experiment, spec, forces, terms, now_ms, whole,
        base=spec.index_of(baseline) if baseline else 0, traffic=traffic,
    )  # fmt: skip
    if are_requests(experiment, spec):
        with contextlib.suppress(StickyError):
            return _of_requests(common, tally())
    return _of_units(common, tally())


@dataclass(frozen=True, slots=True)
class _Common:
    """What the evidence of an experiment is made from, whatever its units are."""

    journal: Journal
    experiment: Experiment
    spec: DeploymentSpec
    forces: InForce
    terms: tuple[Terms, ...]
    now_ms: int
    whole: bool
    base: int
    traffic: Sequence[Traffic]

    def evidence(self, tally: OutcomeTally, **of_units: Any) -> Evidence:  # noqa: ANN401 - fields
        """Complete what is known of the units."""
        experiment, journal = self.experiment, self.journal
        before = of_units.pop("before")
        before += sum(t.units for t in self.traffic if t.revision in experiment.earlier)
        return Evidence(
            spec=self.spec,
            base=self.base,
            revisions=experiment.revisions,
            weights=self.forces.weights,
            epochs=self.forces.epochs,
            groups=self.forces.groups,
            traffic=tuple(t for t in self.traffic if t.revision in experiment.revisions),
            terms=self.terms,
            truths=tally.truths,
            outcomes=tuple(tally.outcomes[arm] for arm in range(len(self.spec.arms))),
            underived=tally.underived(),
            extreme=tally.extreme,
            voided=sum(v.outcomes for v in journal.voids() if v.revision in experiment.revisions),
            late=tally.late,
            before=before,
            now_ms=self.now_ms,
            notes=(
                *experiment.notes,
                *([_BY_REQUEST] if self.forces.by_request else []),
                *_without_unit(experiment, self.traffic),
            ),
            lost=journal.losses().get("decision", 0),
            finished=experiment.finished,
            **of_units,
        )


def _without_unit(experiment: Experiment, traffic: Sequence[Traffic]) -> tuple[str, ...]:
    """Count requests that did not say whose they are, though units are to keep their arms."""
    sticky_by, specs = experiment.spec.sticky_by, experiment.specs
    of = [number for number in experiment.revisions if specs[number].sticky_by == sticky_by]
    drawn = sum(each.drawn for each in traffic if each.revision in of)
    alone = sum(each.alone for each in traffic if each.revision in of)
    if not (sticky_by and alone):
        return ()
    kind, _, name = sticky_by.partition(":")
    text = f"{alone:,} of {drawn:,} requests came without the {kind} `{name}`, by which units keep "
    return (f"{text}their arm: each of them counts as a unit of its own.",)


def _of_requests(common: _Common, tally: OutcomeTally) -> Evidence:
    found = count_requests(
        common.journal, common.experiment, common.forces, tally, whole=common.whole
    )
    # Sums of outcomes keep the declared range as well.
    rewards = np.clip(found.rewards, *(tally.bounds or (-np.inf, np.inf)))
    outside = int((rewards != found.rewards).sum())
    return common.evidence(
        tally,
        arms=found.arms,
        rewards=rewards,
        bounds=tally.bounds,
        propensities=found.propensities,
        strata=found.strata,
        times_ms=found.times_ms,
        units=found.keys,
        nonces=found.nonces,
        asked=found.asked,
        everybody=None,
        capped=tally.capped + outside,
        left_out=(found.returning, 0, found.unknown),
        before=found.before,
        since_ms=found.since_ms,
    )


def _of_units(common: _Common, tally: OutcomeTally) -> Evidence:
    journal, spec, revisions = common.journal, common.spec, common.experiment.revisions
    caps = Caps(spec.attribution)
    units = fold(
        journal.drawn_requests((*_remembered(common.experiment), *revisions)),
        caps.within(o for o in journal.observations(revisions) if o.propensity > 0),
        spec.attribution,
        tally.reward_of,
        sticky=bool(spec.sticky_by),
        now_ms=common.now_ms,
        summed=bool(spec.analysis.per),
    )
    strata = common.forces.rows_of(units)
    since_ms = 0 if common.whole else begin_ms(units.requests_ms)
    own = np.isin(units.revisions, revisions)
    taken = own & (units.decided_ms >= since_ms)
    judged = units.judged[taken[units.judged]]
    # Sums of outcomes, and what silence or a failure is worth, keep the declared range as well.
    sums = _sums(units, judged, spec.analysis.per)
    bounds = tally.bounds if sums is None else None
    rewards = np.clip(units.rewards[judged], *(bounds or (-np.inf, np.inf)))
    outside = int((rewards != units.rewards[judged]).sum())
    if sums is not None:
        rewards = ratio_rewards(sums[0], sums[1], units.arms[judged])
    everybody = _asked(units, strata, taken)
    return common.evidence(
        tally,
        arms=units.arms[judged],
        rewards=rewards,
        bounds=bounds,
        propensities=units.propensities[judged],
        strata=strata[judged],
        times_ms=(units.known_ms if units.by_arrival else units.decided_ms)[judged],
        units=units.keys[judged],
        nonces=units.nonces[judged],
        asked=everybody.counted(
            common.forces.weights, failures=spec.attribution.failed is not None
        ),
        everybody=everybody,
        capped=tally.capped + outside,
        left_out=(units.returning, units.too_late, units.unknown),
        before=int((own & (units.decided_ms < since_ms)).sum()),
        since_ms=since_ms,
        over_caps=tuple(caps.notes()),
        sums=sums,
    )


def _sums(units: Units, judged: NDArray[np.int64], per: Per) -> NDArray[np.float64] | None:
    """Numerators and denominators of a ratio, (2, n); None where units have means."""
    if not per:
        return None
    counts = units.requests if per == "requests" else units.outcomes
    return np.stack([units.rewards[judged], counts[judged].astype(np.float64)])


def _remembered(experiment: Experiment) -> tuple[int, ...]:
    """Revisions from before the experiment was ended, whose sticky units have kept their arms.

    Their arms were not drawn by today's weights; where all were drawn again, they are new, also to
    later revisions.
    """
    anew = experiment.current[0].redraw
    kept = not anew and any(its.sticky_by and not its.redraw for its in experiment.current)
    return experiment.earlier if kept else ()


def _asked(units: Units, strata: NDArray[np.int64], taken: NDArray[np.bool_]) -> Asked:
    taken = units.listed & taken
    return Asked(
        arms=units.arms[taken],
        strata=strata[taken],
        propensities=units.propensities[taken],
        times_ms=units.decided_ms[taken],
        closed=units.closed[taken],
        answered=units.outcomes[taken] > 0,
        failed=units.failed[taken],
        latency_ms=units.latency_ms[taken],
        first_latency_ms=units.first_latency_ms[taken],
        errors=units.errors[taken],
        refusals=units.refusals[taken],
    )


def bounds_of(spec: DeploymentSpec, terms: Sequence[Terms]) -> Range | None:
    """Return the range of the reward, declared or its own; the widest of those of the arms."""
    ranges = [reward_range(spec.reward, spec.reward_range, each) for each in terms]
    known = [each for each in ranges if each is not None]
    if len(known) < len(ranges):
        return None
    low, high = min(low for low, _ in known), max(high for _, high in known)
    # A zero has no sign.
    return within_floats(low) + 0.0, within_floats(high) + 0.0
