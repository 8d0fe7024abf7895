"""A model that was never live, on rows whose truth is known.

The reward follows from the truth and an answer, so the answers that the model would have given are
scored like those that were: no weights are needed for its mean reward, and what makes a row hard
for every model cancels in the difference to what was served. Against one arm only the rows that it
answered can be compared; they are weighed by the probability with which it was drawn.
"""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.evaluation.base import Evaluation, Gain, Unsupported, refusal
from mlops.evaluation.labelled import Decisions
from mlops.evaluation.policy_value import logged_arms
from mlops.journal.records import LabelledRow
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.gates import feedback_test
from mlops.rewards import Answer, Terms, capped, reward_called
from mlops.spec.deployment import DeploymentSpec
from mlops.stats import off_policy
from mlops.stats.off_policy import Estimate, Floats, Replayed, RunningMeans

#: Gives one answer for each row of features.
Ask: TypeAlias = Callable[[Sequence[Any]], Sequence[Answer]]
_AT_ONCE = 1_000


@dataclass(slots=True)
class _Scored:
    """Rewards of rows, as they come."""

    units: array[int] = field(default_factory=lambda: array("q"))
    ours: array[float] = field(default_factory=lambda: array("d"))
    theirs: array[float] = field(default_factory=lambda: array("d"))
    lost: Counter[str] = field(default_factory=Counter)
    failed: set[int] = field(default_factory=set)

    def by_unit(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Return position, and mean rewards of both, by unit in order of arrival."""
        if not self.units:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        keys = np.frombuffer(self.units, dtype=np.int64)
        units, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        counts = np.bincount(inverse)
        order = np.argsort(first)
        ours, theirs = (
            (np.bincount(inverse, np.frombuffer(each, dtype=np.float64)) / counts)[order]
            for each in (self.ours, self.theirs)
        )
        return units[order], ours, theirs


def evaluate_model(
    evidence: Evidence,
    subject: str,
    rows: Iterable[LabelledRow],
    ask: Ask,
    classes: Sequence[Any] = (),
    *,
    alpha: float,
    min_effective: float,
) -> Evaluation:
    """Score a model on labelled rows of an experiment, beside what was served.

    Args:
        evidence: Of the experiment; its reward is derived from the truth.
        subject: The model, as it was written.
        rows: Labelled rows within the caps, in order of arrival; those of other decisions than the
            evidence takes do not count.
        ask: Asks the model.
        classes: Classes of its probabilities, if it says so.
        alpha: Probability that an interval misses.
        min_effective: Units below which nothing is estimated.
    """
    terms = Terms.of(classes, evidence.spec.costs, evidence.spec.decides_by)
    scored = _score(evidence, rows, ask, terms)
    units, ours, theirs = scored.by_unit()
    unsupported = _left_out(evidence, scored, units)
    n = ours.size
    refused, hint = refusal(n, min_effective, None)
    if not n:
        hint = "It is asked about rows with a label and features: `[journal] features`, `hash` and "
        hint += "`drop` say which are kept."
    if not refused and feedback_test(evidence).differs:
        refused = "Arms differ in how many of their requests have a truth: rows with one are not "
        refused += "like the others."
        hint = "Send truths for requests whatever was answered; `mlops report` has the test."
    spec = evidence.spec
    gains = [Gain("served", _means(ours - theirs, None, alpha))]
    for at, arm in enumerate(spec.arms):
        own = evidence.arms[units] == at
        if len(spec.arms) < 2 or not own.any():
            continue
        could = evidence.weights[evidence.strata[units], at] > 0
        gains.append(
            Gain(
                arm.name,
                _against(ours - theirs, own, could, evidence.propensities[units], alpha),
            )
        )
        if not could.all():
            why = f"`{arm.name}` got no traffic (concerns only the gain on it)"
            unsupported.append(Unsupported(why, int((~could).sum())))
    return Evaluation(
        name=spec.name,
        subject=subject,
        kind="model",
        reward=spec.reward,
        revisions=evidence.revisions,
        decisions=evidence.rewards.size,
        used=n,
        alpha=alpha,
        min_effective=min_effective,
        effective=float(n),
        served=off_policy.ratio(theirs, np.ones(n), "mean", alpha),
        estimates=() if refused else _means(ours, evidence.bounds, alpha),
        gains=() if refused else tuple(gains),
        weights=None,
        arms=logged_arms(evidence, None),
        unsupported=tuple(unsupported),
        refused=refused,
        hint=hint,
        notes=(*evidence.notes, *_notes(spec)),
    )


def _score(evidence: Evidence, rows: Iterable[LabelledRow], ask: Ask, terms: Terms) -> _Scored:
    derive, scored, decisions = reward_called(evidence.spec.reward), _Scored(), Decisions(evidence)
    placed = ((decisions.position_of(row), row) for row in rows)
    for batch in _batches((at, row) for at, row in placed if at is not None):
        answers = ask([row.features for _, row in batch])
        for (at, row), answer in zip(batch, answers, strict=True):
            try:
                ours = derive(answer, row.truth, terms)
                theirs = derive(row.served, row.truth, evidence.terms[row.arm])
            except ValueError as error:
                scored.lost[f"no {derive.name}: {error}"] += 1
                scored.failed.add(at)
                continue
            scored.units.append(at)
            scored.ours.append(capped(ours, evidence.bounds))
            scored.theirs.append(capped(theirs, evidence.bounds))
    return scored


def _left_out(evidence: Evidence, scored: _Scored, units: NDArray[np.int64]) -> list[Unsupported]:
    """List decisions that have a reward in the report, and none here."""
    found = [Unsupported(why, n) for why, n in scored.lost.most_common()]
    silent = evidence.rewards.size - len(scored.failed.union(units.tolist()))
    if silent:
        why = "no row with both its features and a label that counts is in the journal"
        found.append(Unsupported(why, silent))
    return found


def _notes(spec: DeploymentSpec) -> Iterator[str]:
    if spec.attribution.repeated == "sum":
        yield (
            "A report adds up all feedback of a decision. Here a decision earns the mean of its "
            "rows, and each row counts once, by its latest label."
        )


def _batches(
    rows: Iterable[tuple[int, LabelledRow]],
) -> Iterator[list[tuple[int, LabelledRow]]]:
    """Yield rows some at a time, all of a batch with names or all without."""
    for _, alike in itertools.groupby(rows, key=lambda pair: isinstance(pair[1].features, dict)):
        while batch := list(itertools.islice(alike, _AT_ONCE)):
            yield batch


def _means(
    values: Floats, bounds: tuple[float, float] | None, alpha: float
) -> tuple[Estimate, ...]:
    """Estimate the mean of values, one per decision."""
    n = values.size
    guesses = RunningMeans(1).take(np.zeros(n, dtype=np.int64), values)[:, 0]
    if bounds is not None:
        guesses = np.clip(guesses, *bounds)
    ones = np.ones(n)
    seen = Replayed(
        np.zeros(n, dtype=np.int64), values, ones, guesses, guesses, ones, ones, np.array([n])
    )  # fmt: skip
    found = [off_policy.ratio(values, ones, "mean", alpha), off_policy.at_every_look(seen, alpha)]
    if bounds is not None:
        found.append(off_policy.dr_bounded(seen, bounds, alpha))
    return tuple(replace(each, estimator="mean") for each in found)


def _against(
    gaps: Floats,
    own: NDArray[np.bool_],
    could: NDArray[np.bool_],
    propensities: Floats,
    alpha: float,
) -> tuple[Estimate, ...]:
    """Estimate the mean gap to an arm over decisions that it could answer, from those it did."""
    arms = own.astype(np.int64)
    guesses = RunningMeans(2).take(arms, np.where(own, gaps, 0.0))[:, 1]
    weights, c = np.where(own, 1 / propensities, 0.0), np.where(could, 1.0, 0.0)
    seen = Replayed(arms, gaps, weights, guesses, guesses, c, weights, np.array([0.0, c.sum()]))
    return (
        off_policy.ratio(off_policy.scores(seen), c, "DR", alpha),
        off_policy.at_every_look(seen, alpha),
    )
