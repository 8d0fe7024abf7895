"""Drift as a fold of a real journal: what counts, in which order, and against what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops.consumers.base import Batch, Context
from mlops.journal.json_text import as_json
from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring import drift
from mlops.monitoring.drift import PREDICTION, DriftFold, DriftReport, Features, watch
from mlops.monitoring.drift_model import WatchedModel
from mlops.monitoring.drift_panel import read_panel
from mlops.monitoring.drift_streams import Stream, restored_stream, watch_feature
from mlops.settings.schema import season_ms
from mlops.spec.deployment import Arm, to_dict
from mlops.stats.joint import JointFeature, joint_features
from mlops.stats.profiles import FeatureProfile, profile_feature
from mlops.workflows.drift_consumer import DriftConsumer
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
    found = watch(journal, "wine", lambda _: profiles, alpha)
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


def test_what_was_stored_outlives_a_restart_and_pruning(
    journal: SqlJournal, tmp_path: Path
) -> None:
    rng = np.random.default_rng(8)
    colours = ["white", "red", None, "rose"]
    decisions = [
        decision(
            i,
            [
                {
                    **row(rng),
                    "alcohol": float(rng.normal(10 + i / 2000, 1)),
                    "colour": colours[i // 2 % 4],
                }
            ]
            * (1 + i % 2),
            arm=i % 2,
            time_ms=START_MS + i * 60_000,
            unit=bytes([i % 251]) * 8 if i % 3 else None,
        )
        for i in range(3_600)
    ]
    other = SqlJournal(f"sqlite:///{tmp_path / 'unpruned.db'}")
    other.record(journal.revision_events())
    other.append(decisions, [])
    profiles = {**PROFILES, "colour": None}
    for start in range(0, 3_600, 900):
        journal.append(decisions[start : start + 900], [])
        # Each time by another process, and in batches of another size.
        fold = DriftFold(journal, lambda _: profiles)
        assert fold.follow()
        while fold.read(journal.end().decisions, 100 + start):
            pass
        fold.save(0, {})
        assert sum(journal.forget_features(2**60)) == 900
    expected = look(other, profiles)
    assert {each.feature for each in expected.drifted} == {"alcohol"}
    assert stream(expected, "colour").missing > 0.2
    assert expected.left_out > 0
    assert repr(look(journal, profiles)) == repr(expected)
    assert look(SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}"), alpha=0.5).without_features == 0
    other.close()


def test_a_model_that_comes_back_is_known(journal: SqlJournal) -> None:
    rng = np.random.default_rng(5)
    journal.append([decision(i, [row(rng)], i % 2) for i in range(200)], [])
    fold = DriftFold(journal, lambda _: PROFILES)
    one, two = spec_of(["a"], (1.0,), "exact", ""), spec_of(["a", "b"], (0.5, 0.5), "exact", "")
    live = {2: to_dict(one), 3: to_dict(two)}
    for revision in (1, 2, 3):
        if revision > 1:
            journal.record([RevisionEvent(revision, START_MS, "live", live[revision])])
            new = [decision(200 * revision + i, [row(rng)], i % 2) for i in range(100)]
            journal.append([each._replace(revision=revision) for each in new], [])
        assert fold.follow()
        fold.read(journal.end().decisions, 1_000)
        fold.save(0, {})
        list(journal.forget_features(2**60))
        assert fold.revision == revision
    found = fold.report("wine", 0.01)
    assert [stream(found, "alcohol", arm).rows for arm in ("a", "b")] == [200, 150]


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


@pytest.mark.parametrize(("season", "alarms"), [("none", True), ("day", False)])
def test_a_day_with_mornings_and_evenings(season: str, *, alarms: bool) -> None:
    """The training data have every hour; an hour by itself is no sample of them."""
    rng = np.random.default_rng(3)
    per_day, days = 2_000, 12

    def draw(hours: NDArray[np.float64], shift: float = 0.0) -> list[float]:
        return list(rng.normal(shift + np.sin(2 * np.pi * hours), 1.0))

    profile = profile_feature(draw(rng.random(5_000)))
    hours = np.arange(per_day * days) / per_day + 0.4
    both = [watch_feature(known, season_ms(season)) for known in (profile, None)]
    values = draw(hours)
    for watched in both:
        # By other batches, and by another process each time.
        for start in range(0, len(hours), 1_700):
            part = slice(start, start + 1_700)
            watched = restored_stream(json.loads(as_json(watched.document())))
            watched.take(values[part], (hours[part] * _DAY_MS).astype(np.int64))
        found = watched.stream("a", "x", 1_200.0)
        assert found.alarm is alarms
        if season == "day":
            # Neither the rest of the first day nor the reference is compared.
            assert found.rows == (22_800 if found.against == "training" else 20_800)
            later = hours + days
            watched.take(draw(later, 0.3), (later * _DAY_MS).astype(np.int64))
            assert watched.stream("a", "x", 1_200.0).alarm


@pytest.mark.parametrize("values", [[1.0, 2.5], ["a", "b"], [True, False], [None], [1, "a"]])
def test_nothing_that_json_has_ends_a_watch(values: list[Any]) -> None:
    strange: list[Any] = [
        None, True, 0, -1, 10**400, 1e308, float("nan"), float("inf"), "", "7", "é" * 5_000, [], {},
        [1, [2]], {"a": None}, "2024-13-45", "0001-01-01T00:00:00+23:00", "\x00",
    ]  # fmt: skip
    for known in (profile_feature(values * 500), None):
        watched = watch_feature(known)
        for cell in strange:
            watched.take([cell, *strange, values[0]] * 30, np.zeros(600, dtype=np.int64))
        document = json.loads(as_json(watched.document()))
        restored_stream(document).take(strange, np.zeros(len(strange), dtype=np.int64))
        assert watched.stream("a", "x", 100.0).rows > 1_000


class Watcher(DriftConsumer):
    """The consumer, with profiles that it need not ask for."""

    def _features(self, arm: Arm) -> Features:
        return PROFILES


def test_a_batch_that_fails_half_way_is_taken_once(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, now = np.random.default_rng(13), [0.0]
    watcher = Watcher(Context("wine", journal, {}), lambda: now[0])
    nothing = Batch(journal.decisions(0, 0, 1), [])
    for start in (0, 300):
        journal.append([decision(i, [row(rng)]) for i in range(start, start + 300)], [])
        with monkeypatch.context() as patched:
            patched.setattr(WatchedModel, "_take_answers", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                watcher.consume(nothing)
        now[0] += 10
        watcher.consume(nothing)
    found = look(journal)
    assert (found.requests, stream(found, "alcohol").rows) == (600, 600)
    assert stream(found, PREDICTION).why_not.endswith("of which 600 came")


def test_a_new_version_begins_with_its_first_request(journal: SqlJournal) -> None:
    rng = np.random.default_rng(14)
    told = [NewOutcome(decision(0, [row(rng)]).nonce, None, 0, START_MS, 1, 0, 0.5, 1.0, None)]
    journal.append([decision(i, [row(rng)]) for i in range(50)], told)
    assert journal.begin([1]) == (0, 0)
    assert journal.begin([2]) == (50, 1)
    fold = DriftFold(journal, lambda _: PROFILES)
    fold.follow()
    fold.read(50, 100)
    spec = spec_of(list("abcd"), (0.0, 0.0, 0.5, 0.5), "exact", "")
    new = replace(spec, arms=spec.arms[2:])
    journal.record([RevisionEvent(2, START_MS, "live", to_dict(new))])
    journal.append([decision(i, [row(rng)], i % 2, revision=2) for i in range(50, 60)], [])
    # A server of the revision before was slower.
    journal.append([decision(60, [row(rng)])], [])
    for watched in (fold, DriftFold(journal, lambda _: PROFILES)):
        watched.follow()
        assert watched.offset == 50
        assert watched.read(100, 100) == 11
        assert [stream(watched.report("wine", 0.01), "alcohol", a).rows for a in "cd"] == [5, 5]


def test_a_wide_model_has_no_more_series_than_a_page_holds(journal: SqlJournal) -> None:
    names = [f"x{at}" for at in range(300)]
    watcher = Watcher(Context("wine", journal, {}))
    wide = {name: profile_feature([0.0, 1.0] * 100) for name in names}
    watcher._fold = DriftFold(journal, lambda _: wide)
    moved = [{**dict.fromkeys(names, 1.0 * (i % 2)), "x280": 7.0} for i in range(300)]
    journal.append([decision(0, moved)], [])
    watcher.consume(Batch(journal.decisions(0, 0, 1), []))
    read = {(each.family, each.labels[0]) for each in journal.readings(["drift"])}
    series = [each.labels for each in journal.readings(["drift"]) if each.family.endswith("alarm")]
    assert len(read) == 5  # Nothing came at `b`, and so nothing has a PSI there.
    assert [sum(arm == each[0] for each in series) for arm in "ab"] == [100, 100]
    assert {"x280", PREDICTION} < {feature for arm, _, feature in series if arm == "a"}
    panel = read_panel(journal)
    assert panel is not None
    assert (len(panel.streams), panel.more, panel.drifted) == (200, 402, ["x280"])


@pytest.mark.parametrize("season", ["none", "day"])
def test_long_texts_are_not_kept(season: str) -> None:
    watched = watch_feature(None, season_ms(season))
    times = np.array([0, *[_DAY_MS] * 19], dtype=np.int64)
    watched.take(["x" * 10_000, ["y" * 10_000], {"z": "z" * 10_000}, 3, None] * 4, times)
    assert 100 < len(as_json(watched.document())) < 4_000


def test_a_correlation_that_breaks_is_named_and_no_feature_is(journal: SqlJournal) -> None:
    def pairs(rng: np.random.Generator, n: int, correlation: float) -> list[dict[str, float]]:
        a, b = rng.normal(size=(2, n))
        both = zip(a, correlation * a + (1 - correlation**2) ** 0.5 * b, strict=True)
        return [{"a": float(one), "b": float(other)} for one, other in both]

    training = pairs(np.random.default_rng(1), 2_000, 0.8)
    columns = {name: np.array([each[name] for each in training]) for name in ("a", "b")}
    features = {name: profile_feature(cells) for name, cells in columns.items()}
    known: dict[str, FeatureProfile | JointFeature | None] = {
        **features,
        **joint_features(columns, 10_000),
    }
    rng = np.random.default_rng(2)
    rows = pairs(rng, 1_000, 0.8) + pairs(rng, 1_000, 0.2)
    # Where a number is missing, or none, the pair has no value.
    rows[500] = {"a": 1.0, "b": None}  # type: ignore[dict-item]
    journal.append([decision(i, [each]) for i, each in enumerate(rows[:1_000])], [])
    fold = DriftFold(journal, lambda _: known)
    assert fold.follow()
    for limit in (700, 300):
        fold.read(journal.end().decisions, limit)
        assert fold.report("wine", 0.01).drifted == ()
        fold.save(0, {})
        # It continues from what was stored.
        fold = DriftFold(journal, lambda _: {})
        assert fold.follow()
    journal.append([decision(1_000 + i, [each]) for i, each in enumerate(rows[1_000:])], [])
    fold.read(journal.end().decisions, 5_000)
    report = fold.report("wine", 0.01)
    # Two arms with two features, their pair and the answers each.
    assert report.threshold == 8 / 0.01
    (drifted,) = report.drifted
    assert (drifted.feature, drifted.rows, drifted.against) == ("a & b", 2_000, "training")
    assert drifted.missing == 1 / 2_000
    whole = watch(journal, "wine", lambda _: known, 0.01)
    assert whole is not None
    assert stream(whole, "a & b").e_value == drifted.e_value


def test_a_cell_that_is_no_number_costs_its_own_row_only(journal: SqlJournal) -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 400))
    known = joint_features({"a": a, "b": b}, 1_000)
    rows: list[dict[str, Any]] = [{"a": float(x), "b": float(y)} for x, y in zip(a, b, strict=True)]
    asked = [decision(i, [each]) for i, each in enumerate(rows)]
    # In a request that counts, in one that does not, and a text that could be read as a number.
    asked[100] = decision(100, [{"a": "n/a", "b": 1.0}])
    asked[200] = decision(200, [{"a": 1.0, "b": "n/a"}], propensity=0.0)
    asked[300] = decision(300, [{"a": "1.5", "b": 1.0}])
    journal.append(asked, [])
    for limit in (400, 7):
        fold = DriftFold(journal, lambda _: known)
        assert fold.follow()
        while fold.read(journal.end().decisions, limit):
            pass
        found = stream(fold.report("wine", 0.01), "a & b")
        assert (found.rows, found.missing) == (399, 2 / 399)
        assert fold.report("wine", 0.01).notes == ()


def test_a_reader_learns_that_correlations_are_not_watched(journal: SqlJournal) -> None:
    journal.append([decision(0, [{"a": 1.0, "b": 2.0}])], [])
    numbers = profile_feature(np.arange(300.0))
    (a, b) = look(journal, {"a": numbers, "b": numbers, "colour": PROFILES["colour"]}).notes
    assert a.startswith("Correlations of `a` are not watched")
    assert "numbers that are known in 75 % of them" in a
    assert "`b`" in b
    assert look(journal, PROFILES).notes == ()


def chosen_by_alcohol(index: int, rng: np.random.Generator, strength: float = 10.0) -> Decision:
    """A request as `linear-ucb` sends it: strong wines to `b` with 0.95, others to `a`."""
    asked = {**row(rng), "alcohol": round(float(rng.normal(strength, 1)), 1)}
    arm = int((asked["alcohol"] > 10) == (rng.random() < 0.95))
    # What an arm answers depends on what it is asked.
    return decision(index, [asked], arm, revision=2, predictions=[asked["alcohol"] / 10])


def test_what_a_policy_sends_to_an_arm_is_no_drift(journal: SqlJournal) -> None:
    rng = np.random.default_rng(15)
    journal.append([decision(i, [row(rng)], arm=i % 2) for i in range(400)], [])
    spec = spec_of(["a", "b"], (0.5, 0.5), "exact", "")
    by_alcohol = to_dict(replace(spec, policy="linear-ucb features=alcohol"))
    journal.record([RevisionEvent(2, START_MS, "live", by_alcohol)])
    journal.append([chosen_by_alcohol(i, rng) for i in range(400, 4_000)], [])
    # In parts, each by another process.
    for limit in (1_700, 5_000):
        fold = DriftFold(journal, lambda _: PROFILES)
        assert fold.follow()
        fold.read(journal.end().decisions, limit)
        fold.save(0, {})
    calm = look(journal)
    assert calm.drifted == ()
    # Each of its own 200 before, and all of them since.
    assert [stream(calm, "alcohol", arm).rows for arm in "ab"] == [3_800, 3_800]
    assert (calm.requests, calm.left_out, calm.without_features) == (4_000, 0, 0)
    (note,) = calm.notes
    assert note.startswith("In revision 2 the policy chose the arm by the request")
    held = "not compared, as the policy chooses the arm by the request"
    assert [stream(calm, PREDICTION, arm).why_not for arm in "ab"] == [held, held]
    # A real shift is found, at both.
    journal.append([chosen_by_alcohol(i, rng, 10.7) for i in range(4_000, 6_000)], [])
    assert {(each.arm, each.feature) for each in look(journal).drifted} == {
        ("a", "alcohol"), ("b", "alcohol"),
    }  # fmt: skip
    # Answers are compared again under fixed weights.
    journal.record([RevisionEvent(3, START_MS, "live", to_dict(spec))])
    journal.append([decision(6_000 + i, [row(rng)], i % 2, revision=3) for i in range(100)], [])
    for arm in "ab":
        assert stream(look(journal), PREDICTION, arm).why_not.endswith("of which 250 came")


def test_a_unit_counts_once_a_day_where_a_policy_chooses(journal: SqlJournal) -> None:
    rng, ann = np.random.default_rng(16), b"ann....."
    # A policy that is not installed here may look at the request too.
    spec = replace(spec_of(["a", "b"], (0.5, 0.5), "exact", ""), policy="of-another-package")
    journal.record([RevisionEvent(2, START_MS, "live", to_dict(spec))])
    sent = [decision(i, [row(rng)], i % 2, revision=2, unit=ann) for i in range(4)]
    for each in sent:
        journal.append([each], [])
        fold = DriftFold(journal, lambda _: PROFILES)
        assert fold.follow()
        fold.read(journal.end().decisions, 100)
        fold.save(0, {})
    found = fold.report("wine", 0.01)
    assert [stream(found, "alcohol", arm).rows for arm in "ab"] == [1, 1]
    # Of the four only the first is compared; each is left out where it was answered.
    assert (found.requests, found.left_out) == (4, 3)
