"""Journals of experiments that never were, made from seeded draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlops.journal.features import features_of
from mlops.journal.records import Decision, NewOutcome, RevisionEvent, Value
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Rows
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion

#: 1 March 2026, 08:00 UTC.
START_MS = 1_772_352_000_000
#: Draws a prediction and its truth for an arm.
Draw = Callable[[np.random.Generator, int], tuple[Value, Value]]


@dataclass(frozen=True)
class Stage:
    """One revision's time.

    Attributes:
        weights: Share of each arm.
        n: Requests.
        hours: How long it lasted.
        actual: Shares that were really drawn, if others than promised.
        rated: Share of requests with feedback.
    """

    weights: Sequence[float]
    n: int
    hours: float = 6.0
    actual: Sequence[float] | None = None
    rated: float = 1.0


def spec_of(
    names: Sequence[str],
    weights: Sequence[float],
    reward: str,
    sticky_by: str,
    reward_range: tuple[float, float] | None = None,
) -> DeploymentSpec:
    """A deployment of arms with these names."""
    arms = [
        Arm(name, ModelVersion(name, f"wine/{index + 1}", "/nowhere"), weight)
        for index, (name, weight) in enumerate(zip(names, weights, strict=True))
    ]
    return DeploymentSpec(
        "wine", tuple(arms), reward=reward, sticky_by=sticky_by, reward_range=reward_range
    )


def numbers(offsets: Sequence[float]) -> Draw:
    """Truths around 6, and predictions that miss each by a random error of this size and more."""

    def draw(rng: np.random.Generator, arm: int) -> tuple[Value, Value]:
        truth = round(float(rng.normal(6, 1)))
        return truth + float(rng.normal(0, 0.6 + offsets[arm])), float(truth)

    return draw


def labels(rates: Sequence[float]) -> Draw:
    """Right labels at these rates."""

    def draw(rng: np.random.Generator, arm: int) -> tuple[Value, Value]:
        return "red" if rng.random() < rates[arm] else "white", "red"

    return draw


def fill(
    journal: SqlJournal,
    names: Sequence[str],
    stages: Sequence[Stage],
    draw: Draw,
    *,
    reward: str = "squared-error",
    sticky_by: str = "",
    reward_range: tuple[float, float] | None = None,
    seed: int = 7,
) -> None:
    """Write an experiment into a journal, one revision for each stage."""
    rng = np.random.default_rng(seed)
    now_ms = START_MS
    for number, stage in enumerate(stages, start=1):
        spec = spec_of(names, stage.weights, reward, sticky_by, reward_range)
        journal.record(
            [RevisionEvent(number, now_ms, "started" if number == 1 else "live", to_dict(spec))]
        )
        span_ms = int(stage.hours * 3_600_000)
        times = np.sort(rng.integers(0, span_ms, stage.n)) + now_ms
        drawn = rng.choice(len(names), stage.n, p=stage.actual or stage.weights)
        decisions, outcomes = [], []
        for time_ms, arm in zip(times.tolist(), drawn.tolist(), strict=True):
            nonce, propensity = rng.bytes(12), stage.weights[arm]
            prediction, truth = draw(rng, arm)
            decisions.append(
                Decision(
                    nonce, time_ms, number, arm, propensity, 1, 500 + 100 * arm, 200, "mlflow",
                    predictions=[prediction],
                )
            )  # fmt: skip
            if rng.random() < stage.rated:
                outcomes.append(
                    NewOutcome(
                        nonce, None, 0, time_ms + 50, number, arm, propensity, None, truth
                    )
                )  # fmt: skip
        journal.append(decisions, outcomes)
        now_ms += span_ms


def paired_journal(tmp_path: Path) -> tuple[SqlJournal, DeploymentSpec]:
    """Return a journal of 400 rows, of which the arms `old` and `new` earned too little to tell."""
    spec = replace(spec_of(("old", "new"), (0.5, 0.5), "absolute-error", ""), paired=True)
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    journal.record([RevisionEvent(1, 0, "live", to_dict(spec))])
    rng = np.random.default_rng(3)
    decisions, outcomes = [], []
    for index in range(400):
        nonce, truth = index.to_bytes(12, "big"), float(rng.normal(0, 3))
        decisions.append(
            Decision(
                nonce, index, 1, index % 2, 0.5, 1, 900, 200, "mlflow",
                features=features_of(Rows([[truth]], ("x",)), "all"), predictions=[0.0],
            )
        )  # fmt: skip
        outcomes.append(NewOutcome(nonce, None, 0, index, 1, index % 2, 0.5, None, truth))
    journal.append(decisions, outcomes)
    return journal, spec


def ask_both(_experiment: str, rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Answer rows of `paired_journal` by every arm: `new` is nearly right, `old` is not."""
    return [[0.0] * len(rows), [0.9 * row["x"] for row in rows]]
