"""Requests of a wine model with two features, and what is seen in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.journal.records import Decision, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.drift import DriftReport, Features, watch
from mlops.monitoring.drift_streams import Stream
from mlops.spec.deployment import Arm, to_dict
from mlops.stats.profiles import FeatureProfile, profile_feature
from mlops.workflows.drift_consumer import DriftConsumer
from tests.monitoring.journals import START_MS, spec_of

DAY_MS = 86_400_000
_RNG = np.random.default_rng(2)
_COLOURS = ["red"] * 6 + ["white"] * 3 + ["rose"]

_TRAINING: dict[str, list[Any]] = {
    "alcohol": [round(float(x), 1) for x in _RNG.normal(10, 1, 2_000)],
    "colour": [_COLOURS[i] for i in _RNG.integers(10, size=2_000)],
}

PROFILES = {name: profile_feature(values) for name, values in _TRAINING.items()}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    opened = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    document = to_dict(spec_of(["a", "b"], (0.5, 0.5), "exact", ""))
    opened.record([RevisionEvent(1, START_MS, "started", document)])
    yield opened
    opened.close()


def row(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "alcohol": round(float(rng.normal(10, 1)), 1),
        "colour": _COLOURS[int(rng.integers(10))],
    }


def decision(index: int, rows: Sequence[Mapping[str, Any]], arm: int = 0, **other: Any) -> Decision:
    names = list(rows[0])
    cells = [[each[name] for name in names] for each in rows]
    features = f"{json.dumps(names)}\n{json.dumps(cells)}".encode()
    made = Decision(
        index.to_bytes(12, "big"), START_MS + index, 1, arm, 0.5, len(rows), 100, 200, "mlflow",
        features=features, predictions=[float(index % 7) for _ in rows],
    )  # fmt: skip
    return made._replace(**other)


def look(
    journal: SqlJournal,
    profiles: Mapping[str, FeatureProfile | None] = PROFILES,
    alpha: float = 0.01,
) -> DriftReport:
    found = watch(journal, "wine", lambda _: profiles, alpha)
    assert found is not None
    return found


def stream(found: DriftReport, feature: str, arm: str = "a") -> Stream:
    (one,) = (each for each in found.streams if (each.arm, each.feature) == (arm, feature))
    return one


class Watcher(DriftConsumer):
    """The consumer, with profiles that it need not ask for."""

    def _features(self, arm: Arm) -> Features:
        return PROFILES
