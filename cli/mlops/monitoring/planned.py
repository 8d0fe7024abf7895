"""A planned test: its basis, what each design needs, and what would help. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlops.errors import InvalidInputError
from mlops.monitoring.evidence import Evidence
from mlops.rewards import reward_called
from mlops.stats.designs import Basis, Design, Goal, designs

#: Correlation of two models' rewards on one row, where none was measured: 5 times fewer rows.
ASSUMED_PAIRS = 0.8
_DAY_MS = 86_400_000
_FEWEST = 50
# Shorter than this says little about the requests of a day.
_SHORT_DAYS = 0.5
# A plan that is not at least this much shorter is not mentioned.
_SHORTER = 0.9


@dataclass(frozen=True, slots=True)
class TestPlan:
    """What a test needs.

    Attributes:
        name: Name of the deployment that the numbers are of; empty for numbers that were given.
        basis: What is known of traffic and reward.
        goal: What is to be found.
        designs: What each design needs.
        hopeless: Whether no design but pairs gets there in time.
        advice: What can be found in the given time, and what would help, as sentences.
        notes: What the numbers rest on.
    """

    __test__ = False  # no test of pytest's

    name: str
    basis: Basis
    goal: Goal
    designs: tuple[Design, ...]
    hopeless: bool
    advice: tuple[str, ...]
    notes: tuple[str, ...]


def plan_test(basis: Basis, goal: Goal, *, name: str = "", notes: tuple[str, ...] = ()) -> TestPlan:
    """Plan a test in every design that the basis allows.

    Args:
        basis: What is known.
        goal: What is to be found.
        name: Of the deployment.
        notes: Added to the plan.

    Raises:
        InvalidInputError: The lift is impossible.
    """
    if basis.binary and basis.mean + goal.lift > 1:
        raise InvalidInputError(
            f"A rate of {basis.mean:g} cannot rise by {goal.lift:g}.",
            hint="`--relative` makes the lift a share of the rate.",
        )
    found = designs(basis, goal)
    served = [each for each in found if each.kind != "pairs"]
    hopeless = all(each.hopeless for each in served)
    return TestPlan(name, basis, goal, found, hopeless, _advice(basis, goal, found), notes)


def basis_of(
    evidence: Evidence, pair_correlation: float | None = None
) -> tuple[Basis, tuple[str, ...]]:
    """Read what a plan needs from a deployment's evidence.

    Args:
        evidence: All of its experiment.
        pair_correlation: Of two models' rewards on one row, as measured; None if it was not.

    Returns:
        The basis, and what must be known about it.

    Raises:
        InvalidInputError: Too few rewards to know how much they spread.
    """
    spec, asked = evidence.spec, evidence.asked
    rewards = evidence.rewards[evidence.arms == evidence.base]
    if rewards.size < 2 or not rewards.var() > 0:
        raise InvalidInputError(
            f"`{spec.name}` has {rewards.size:,} rewards of `{spec.arms[evidence.base].name}` so "
            "far, too few or too much alike to know how they spread.",
            hint="Say it: `--rate 0.05`, or `--mean 12 --sd 30`.",
        )
    notes = []
    if rewards.size < _FEWEST:
        notes.append(f"The spread is that of only {rewards.size} rewards.")
    days = (asked.span_ms[1] - asked.span_ms[0]) / _DAY_MS if asked.span_ms else 0.0
    if days < _SHORT_DAYS:
        notes.append(
            f"The rate is that of {max(days * 1440, 0):.0f} minutes of traffic; "
            "`--requests-per-day` says how it is."
        )
    if reward_called(spec.reward).is_derived and pair_correlation is None:
        pair_correlation = ASSUMED_PAIRS
        notes.append(assumed_pairs())
    closed = int(asked.closed.sum())
    known = int(asked.answered.sum()) / closed if closed else 1.0
    fills = spec.attribution.fills_silence
    weights = evidence.weights[-1]
    order = [evidence.base, *(i for i in range(len(spec.arms)) if i != evidence.base)]
    sticky = bool(spec.sticky_by)
    basis = Basis(
        mean=float(rewards.mean()),
        variance=float(rewards.var(ddof=1)),
        shares=tuple(float(weights[index]) for index in order),
        kind="units" if sticky else "requests",
        per_day=asked.n / days if days > 0 else None,
        answered=1.0 if fills else known or 1.0,
        binary=bool(np.isin(evidence.rewards, (0.0, 1.0)).all()),
        reward_range=evidence.bounds,
        visits=_visits(evidence) if sticky else None,
        pair_correlation=pair_correlation,
    )
    return basis, tuple(notes)


def _visits(evidence: Evidence) -> float:
    """Requests of a sticky unit so far."""
    drawn = sum(traffic.drawn for traffic in evidence.traffic)
    return max(drawn / max(evidence.asked.n, 1), 1.0)


def pair_correlation(rewards: NDArray[np.float64]) -> float | None:
    """Correlation of the rewards of two models on the same rows; None if it is not known.

    Args:
        rewards: One row per model, (2, n).
    """
    if rewards.shape[-1] < _FEWEST or not (rewards.std(axis=-1) > 0).all():
        return None
    ours, theirs = rewards - rewards.mean(axis=-1, keepdims=True)
    correlation = float((ours * theirs).mean() / (ours.std() * theirs.std()))
    return min(max(correlation, 0.0), 0.999)


def assumed_pairs() -> str:
    """Say that the correlation of pairs is assumed."""
    return (
        f"Pairs are planned as if the arms' rewards on one row correlated by {ASSUMED_PAIRS:g}; "
        "`--pair-correlation` says how they do."
    )


def _advice(basis: Basis, goal: Goal, found: tuple[Design, ...]) -> tuple[str, ...]:
    texts = []
    first, ends = found[0], found[1]
    if first.hopeless:
        takes = "for ever" if first.days is None else duration(first.days)
        texts.append(
            f"Hopeless in {duration(goal.days)}: without a horizon a test of {first.kind} takes "
            f"{takes}."
        )
    if ends.observations and not ends.hopeless and first.hopeless:
        texts.append(
            f"With an end that is declared beforehand it is possible: `mlops deploy --horizon "
            f"{ends.observations}`."
        )
    texts += _even_split(basis, goal, first)
    pairs = next((each for each in found if each.kind == "pairs"), None)
    if pairs and pairs.observations and first.observations:
        fewer = first.observations / pairs.observations
        if fewer > 1 / _SHORTER:
            texts.append(
                f"Where the truth does not depend on which answer was served, pairs need "
                f"{fewer:.1f} times fewer: `mlops report --paired`."
            )
    smallest = ends.smallest_lift
    if smallest is not None and first.hopeless:
        texts.append(
            f"With a horizon, {duration(goal.days)} find a lift of {smallest:.3g} with "
            f"{goal.power:.0%} power.".replace("%", " %")
        )
    return tuple(texts)


def _even_split(basis: Basis, goal: Goal, now: Design) -> list[str]:
    """Say what equal shares would save."""
    arms = len(basis.shares)
    even = designs(replace(basis, shares=(1 / arms,) * arms), goal)[0]
    if not now.observations or not even.observations:
        return []
    if even.observations > _SHORTER * now.observations:
        return []
    share = "/".join([f"{100 / arms:.3g}"] * arms)
    days = f" ({duration(even.days)})" if even.days else ""
    return [f"Equal shares need {even.observations:,}{days}: `mlops deploy --split {share}`."]


def duration(days: float) -> str:
    """Write a time: 40 minutes, 5 hours, 3.5 days, 40 years.

    >>> duration(0.02), duration(0.25), duration(8.62), duration(14342)
    ('29 minutes', '6 hours', '8.6 days', '39 years')
    """
    if days < 1 / 24:
        return f"{days * 1440:.0f} minutes"
    if days < 1:
        return f"{days * 24:.2g} hours"
    if days >= 730:
        return f"{days / 365.25:,.0f} years"
    digits = 0 if days >= 10 or math.isclose(days, round(days)) else 1
    text = f"{days:,.{digits}f}"
    return f"{text} day{'' if text == '1' else 's'}"
