"""Drift as a fold of a real journal: what counts, in which order, and against what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.journal.records import Decision, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring import drift
from mlops.monitoring.drift import PREDICTION, DriftReport, watch
from mlops.monitoring.drift_streams import Stream
from mlops.spec.deployment import to_dict
from mlops.stats.profiles import FeatureProfile, profile_feature
from tests.monitoring.journals import START_MS, spec_of

_DAY_MS = 86_400_000
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
    found = watch(journal, "wine", lambda _: {"a": profiles, "b": profiles}, alpha)
    assert found is not None
    return found


def stream(found: DriftReport, feature: str, arm: str = "a") -> Stream:
    (one,) = (each for each in found.streams if (each.arm, each.feature) == (arm, feature))
    return one


def test_what_drifts_is_named_and_nothing_else(journal: SqlJournal) -> None:
    rng = np.random.default_rng(4)
    same = [decision(i, [row(rng)], arm=i % 2) for i in range(4_000)]
    journal.append(same, [])
    before = look(journal)
    assert before.drifted == ()
    assert before.threshold == 6 / 0.01
    assert before.requests == 4_000
    assert [each.feature for each in before.streams if each.arm == "a"] == [
        "alcohol", "colour", PREDICTION,
    ]  # fmt: skip
    moved = [
        decision(i, [{**row(rng), "alcohol": round(float(rng.normal(11, 1)), 1)}], arm=i % 2)
        for i in range(4_000, 6_000)
    ]
    journal.append(moved, [])
    after = look(journal)
    assert {(each.arm, each.feature) for each in after.drifted} == {
        ("a", "alcohol"), ("b", "alcohol"),
    }  # fmt: skip
    (since, other) = (each.since_ms or 0 for each in after.drifted)
    assert START_MS + 4_000 < min(since, other) < max(since, other) < START_MS + 4_900
    assert stream(after, "alcohol").psi > 0.25
    assert stream(after, "colour").psi < 0.05


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "orange"}, {"unseen": (("orange", 160),)}),
        ({"colour": None}, {"missing": 160 / 560}),
        ({"alcohol": None}, {"missing": 160 / 560}),
        ({"alcohol": "12,5"}, {"strange": 160}),
        ({"alcohol": [12, 5]}, {"strange": 160}),
        ({"alcohol": 1e300}, {}),
    ],
)
def test_what_the_training_never_had(
    journal: SqlJournal, change: dict[str, Any], said: dict[str, Any]
) -> None:
    rng = np.random.default_rng(6)
    rows = [row(rng) for _ in range(400)] + [{**row(rng), **change} for _ in range(160)]
    journal.append([decision(i, [each]) for i, each in enumerate(rows)], [])
    found = look(journal)
    (name,) = change
    assert {each.feature for each in found.drifted} == {name}
    for key, value in said.items():
        assert getattr(stream(found, name), key) == value


def test_a_thousand_looks_see_what_one_sees(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(8)
    for index in range(300):
        # Some requests name one column only, and so stand in another table.
        rows = [row(rng) for _ in range(int(rng.integers(1, 4)))]
        some = rows if index % 3 else [{"alcohol": each["alcohol"]} for each in rows]
        journal.append([decision(index, some)], [])
    whole = look(journal)
    monkeypatch.setattr(drift, "_AT_ONCE", 7)
    assert repr(look(journal)) == repr(whole)


def test_whose_rows_count(journal: SqlJournal) -> None:
    rng = np.random.default_rng(9)
    one, two = [row(rng)], [row(rng), row(rng)]
    ann, bob = b"ann.....", b"bob....."
    journal.append(
        [
            decision(0, two),
            decision(1, one, propensity=0.0),
            decision(2, one, status=400, predictions=None),
            decision(3, two, unit=ann),
            decision(4, one, unit=ann),
            decision(5, one, unit=bob),
            decision(6, one, unit=ann, time_ms=START_MS + _DAY_MS),
        ],
        [],
    )
    found = look(journal)
    # Two without a unit; Ann's first on each of two days; Bob's.
    assert stream(found, "alcohol").rows == 5
    assert found.left_out == 2
    assert found.requests == 5


def test_without_training_data_the_first_requests_are_the_reference(journal: SqlJournal) -> None:
    rng = np.random.default_rng(10)
    same = [decision(i, [row(rng)]) for i in range(900)]
    journal.append(same, [])
    unknown = dict.fromkeys(PROFILES)
    early = stream(look(journal, unknown), "alcohol")
    assert early.why_not == "its reference is the first 1,000 values, of which 900 came"
    assert (early.rows, early.e_value, early.alarm) == (0, 1.0, False)
    later = [decision(i, [row(rng)]) for i in range(900, 1_300)]
    moved = [decision(i, [{**row(rng), "colour": "white"}]) for i in range(1_300, 1_700)]
    journal.append([*later, *moved], [])
    found = look(journal, unknown)
    assert {each.feature for each in found.drifted} == {"colour"}
    assert stream(found, "colour").against == "first requests"
    assert stream(found, "colour").rows == 700


def test_the_same_model_on_both_arms_and_by_another_name(journal: SqlJournal) -> None:
    spec = spec_of(["a", "b"], (0.5, 0.5), "exact", "")
    (first, second) = spec.arms
    twin = replace(second, model=replace(first.model, ref="wine/1", chosen_by="newest version"))
    journal.record([RevisionEvent(2, START_MS, "live", to_dict(replace(spec, arms=(first, twin))))])
    rng = np.random.default_rng(3)
    earlier = [decision(i, [row(rng)]) for i in range(4)]
    journal.append(
        [*earlier, *(decision(i, [row(rng)], i % 2, revision=2) for i in range(4, 8))], []
    )
    found = look(journal)
    assert [stream(found, "alcohol", arm).rows for arm in ("a", "b")] == [6, 2]


def test_what_the_journal_does_not_keep_is_counted(journal: SqlJournal) -> None:
    kept = decision(0, [row(np.random.default_rng(1))])
    journal.append([kept, decision(1, [{"alcohol": 9.0}], features=None)], [])
    found = look(journal)
    assert (found.requests, found.without_features) == (2, 1)
    assert stream(found, PREDICTION).why_not.endswith("of which 2 came")


def test_what_was_written_and_never_answered_is_not_live(journal: SqlJournal) -> None:
    spec = spec_of(["a", "c"], (0.5, 0.5), "exact", "")
    first = to_dict(spec_of(["a", "b"], (0.5, 0.5), "exact", ""))
    journal.record([RevisionEvent(2, START_MS, "live", to_dict(spec))])
    journal.record([RevisionEvent(1, START_MS, "live", first)])
    journal.append([decision(0, [row(np.random.default_rng(1))])], [])
    assert look(journal).revision == 1


def test_evidence_stays_a_number(journal: SqlJournal) -> None:
    rng = np.random.default_rng(1)
    moved = [{**row(rng), "alcohol": 99.0} for _ in range(5_000)]
    journal.append([decision(0, moved)], [])
    assert 1e100 < stream(look(journal), "alcohol").e_value < float("inf")


def test_answers_drift_too(journal: SqlJournal) -> None:
    rng = np.random.default_rng(12)
    answers = [*rng.normal(5, 1, 1_500), *rng.normal(7, 1, 200)]
    rows = [decision(i, [row(rng)], predictions=[float(x)]) for i, x in enumerate(answers)]
    journal.append(rows, [])
    (alarm,) = look(journal).drifted
    assert alarm.feature == PREDICTION


def test_an_old_profile_has_no_sample(journal: SqlJournal) -> None:
    numbers = PROFILES["alcohol"].numbers
    assert numbers is not None
    old = replace(PROFILES["alcohol"], numbers=replace(numbers, sample=()))
    journal.append([decision(0, [row(np.random.default_rng(1))])], [])
    assert stream(look(journal, {"alcohol": old}), "alcohol").against == "first requests"
