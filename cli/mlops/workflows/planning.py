"""`mlops plan`: from a running deployment's journal, from numbers, or from both."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from mlops.deployment.arm_options import ArmRequest, read_split, shares
from mlops.deployment.locate import locate
from mlops.errors import InvalidInputError, UsageError
from mlops.journal.base import Journal
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.planned import (
    ASSUMED_PAIRS,
    TestPlan,
    assumed_pairs,
    basis_of,
    pair_correlation,
    plan_test,
)
from mlops.monitoring.same_rows import live_alpha
from mlops.rewards import reward_called
from mlops.settings import Settings
from mlops.spec.analysis import read_worth
from mlops.spec.deployment import from_dict
from mlops.stats.designs import Basis, Goal
from mlops.workflows.evidence import open_evidence


@dataclass(frozen=True, slots=True)
class Given:
    """Numbers from the command line; None where the journal has them.

    Attributes:
        lift: Difference of mean rewards to find; None for `[report] worth`.
        relative: Whether it is a share of the baseline's mean.
        rate: Mean of a reward of 0 and 1.
        mean: Mean reward of the baseline.
        sd: Standard deviation of one reward.
        requests_per_day: Requests in a day.
        labelled: Share of requests that get a reward.
        split: Shares of the arms, as `90/10`.
        arms: Arms that share traffic equally.
        power: Probability to find the lift.
        days: Longest that the test may take.
        requests_per_unit: Of a sticky unit during the test.
        unit_correlation: Of two rewards of one unit.
        pair_correlation: Of two models' rewards on one row.
    """

    lift: float | None = None
    relative: bool = False
    rate: float | None = None
    mean: float | None = None
    sd: float | None = None
    requests_per_day: float | None = None
    labelled: float | None = None
    split: str = ""
    arms: int | None = None
    power: float = 0.8
    days: float = 28.0
    requests_per_unit: float | None = None
    unit_correlation: float | None = None
    pair_correlation: float | None = None


def plan_for(settings: Settings, name: str | None, given: Given) -> TestPlan:
    """Plan a test.

    Args:
        settings: The project's settings.
        name: Deployment whose journal has the numbers; None for the only one, or for none where
            the numbers are given.
        given: Numbers, which override those of the journal.

    Raises:
        NotFoundError: There is no such deployment.
        InvalidInputError: Its journal has too few data, or the lift is impossible.
        UsageError: Numbers are missing, or do not go together.
    """
    _check(given)
    notes: tuple[str, ...]
    alpha = settings.report.alpha
    if name is None and (given.rate is not None or given.sd is not None):
        known, notes, name = _told(settings), (assumed_pairs(),), ""
    else:
        found = locate(settings, name)
        journal, _ = open_evidence(settings, found)
        try:
            evidence = gather(journal, baseline=settings.report.baseline)
            known, notes = basis_of(evidence, _measured_pairs(journal, evidence))
        finally:
            journal.close()
        name = found.name
        if evidence.spec.paired:
            alpha = live_alpha(evidence.spec, alpha)
            notes += (f"Served requests and the same rows have half of alpha each, {alpha:g}.",)
    known, notes = _with(known, notes, given)
    return plan_test(known, _goal(settings, known, given, alpha), name=name, notes=notes)


def _check(given: Given) -> None:
    if given.rate is not None and (given.sd is not None or given.mean is not None):
        raise UsageError(
            "`--rate` is the mean of rewards of 0 and 1: it cannot be combined with `--sd`."
        )
    if given.split and given.arms is not None:
        raise UsageError("`--split` says how many arms there are: it goes without `--arms`.")
    if given.relative and given.lift is None:
        raise UsageError("`--relative` needs `--lift`, as in `--lift 0.1 --relative`.")


def _told(settings: Settings) -> Basis:
    """The defaults for the numbers that are given."""
    declared = settings.feedback.reward_range
    return Basis(0.0, 1.0, (0.5, 0.5), reward_range=declared, pair_correlation=ASSUMED_PAIRS)


def _with(known: Basis, notes: tuple[str, ...], given: Given) -> tuple[Basis, tuple[str, ...]]:
    """Override the journal's numbers with the given ones."""
    if given.rate is not None:
        known = replace(known, mean=given.rate, variance=given.rate * (1 - given.rate), binary=True)
    if given.sd is not None:
        known = replace(known, variance=given.sd**2, binary=False, mean=given.mean or 0.0)
    if given.requests_per_day is not None:
        requests = known.visits or 1.0 if known.kind == "units" else 1.0
        known = replace(known, per_day=given.requests_per_day / requests)
        notes = tuple(note for note in notes if "--requests-per-day" not in note)
    if given.labelled is not None:
        known = replace(known, answered=given.labelled)
    known = replace(known, shares=_shares(known, given))
    if given.requests_per_unit is not None and known.kind == "requests":
        correlation = given.unit_correlation or 0.0
        known = replace(known, visits=given.requests_per_unit, unit_correlation=correlation)
    if given.pair_correlation is not None:
        known = replace(known, pair_correlation=given.pair_correlation)
        notes = tuple(note for note in notes if "--pair-correlation" not in note)
    return known, notes


def _shares(known: Basis, given: Given) -> tuple[float, ...]:
    if given.arms is not None:
        return (1 / given.arms,) * given.arms
    if not given.split:
        return known.shares
    arms = [ArmRequest("")] * len(given.split.split("/"))
    return tuple(shares([arm.weight for arm in read_split(arms, given.split)]))


def _goal(settings: Settings, known: Basis, given: Given, alpha: float) -> Goal:
    """What is to be found, in units of reward."""
    lift = read_worth(settings.report.worth) if given.lift is None else given.lift
    if lift is None:
        raise UsageError(
            "Which lift is to be found?",
            hint="`--lift 0.01`, or `--lift 0.1 --relative` for a tenth of the mean; `[report] "
            "worth` says it once for all.",
        )
    if given.relative:
        lift *= abs(known.mean)
    if not 0 < lift < math.inf:
        raise InvalidInputError(
            "A lift of 0 is never found.", hint="`--relative` needs a mean other than 0: `--mean`."
        )
    return Goal(lift, given.power, alpha, given.days)


def _measured_pairs(journal: Journal, evidence: Evidence) -> float | None:
    """Correlation of the rewards of shadows and of what was served to the same requests."""
    reward = reward_called(evidence.spec.reward)
    if not reward.is_derived:
        return None
    shadowed = {
        event.revision for event in journal.revision_events()
        if event.spec is not None and event.event in ("live", "started")
        and from_dict(event.spec).shadows
    }  # fmt: skip
    pairs = []
    for row in journal.shadow_truths(sorted(shadowed)) if shadowed else ():
        terms = evidence.terms[min(row.arm, len(evidence.terms) - 1)]
        try:
            pairs.append([reward(row.prediction, row.truth, terms),
                          reward(row.served, row.truth, terms)])  # fmt: skip
        except (TypeError, ValueError):
            continue
    return pair_correlation(np.array(pairs).T) if pairs else None
