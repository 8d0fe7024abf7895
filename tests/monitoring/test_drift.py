"""Drift as a fold of a real journal: what counts, in which order, and against what."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops.consumers.base import Batch, Context
from mlops.journal.json_text import as_json
from mlops.journal.records import Decision, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring import drift
from mlops.monitoring.drift import CONSUMER, PREDICTION, DriftFold, watch
from mlops.monitoring.drift_model import WatchedModel
from mlops.monitoring.drift_panel import read_panel
from mlops.monitoring.drift_streams import restored_stream, watch_feature
from mlops.settings.schema import season_ms
from mlops.spec.deployment import to_dict
from mlops.stats.joint import JointFeature, joint_features
from mlops.stats.profiles import FeatureProfile, profile_feature
from tests.monitoring.drift_journal import (
    DAY_MS,
    PROFILES,
    Watcher,
    decision,
    look,
    row,
    stream,
)
from tests.monitoring.journals import START_MS, spec_of


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


def test_times_are_compared_as_such(journal: SqlJournal) -> None:
    start = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)

    def asked(at: int, hours: float) -> Decision:
        time = start + dt.timedelta(hours=hours)
        text = time.isoformat() if at % 2 else f"{time:%Y-%m-%d %H:%M:%S}"
        return decision(at, [{"pickup": text if at % 10 else None}])

    rng = np.random.default_rng(12)
    journal.append([asked(n, rng.uniform(0, 500)) for n in range(1_500)], [])
    trained = profile_feature([start + dt.timedelta(hours=n / 2) for n in range(1_000)])
    for profiles in ({"pickup": trained}, {"pickup": None}):
        assert stream(look(journal, profiles), "pickup").kind == "time"
    unmoved = stream(look(journal, {"pickup": None}), "pickup")
    assert (unmoved.alarm, unmoved.strange) == (False, 0)
    assert unmoved.missing_before == pytest.approx(0.1)
    journal.append([asked(n, rng.uniform(600, 800)) for n in range(1_500, 2_000)], [])
    moved = stream(look(journal, {"pickup": None}), "pickup")
    assert (moved.alarm, moved.strange) == (True, 0)


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


def test_answers_of_several_values_are_not_compared_and_a_reader_learns_it(
    journal: SqlJournal,
) -> None:
    rng = np.random.default_rng(12)
    journal.append([decision(i, [row(rng)], predictions=[[1.0, 2.0]]) for i in range(20)], [])
    assert "an answer has several values" in stream(look(journal), PREDICTION).why_not


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
    for begun in both:
        watched = begun
        # By other batches, and by another process each time.
        for start in range(0, len(hours), 1_700):
            part = slice(start, start + 1_700)
            watched = restored_stream(json.loads(as_json(watched.document())))
            watched.take(values[part], (hours[part] * DAY_MS).astype(np.int64))
        found = watched.stream("a", "x", 1_200.0)
        assert found.alarm is alarms
        if season == "day":
            # Neither the rest of the first day nor the reference is compared.
            assert found.rows == (22_800 if found.against == "training" else 20_800)
            later = hours + days
            watched.take(draw(later, 0.3), (later * DAY_MS).astype(np.int64))
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
    times = np.array([0, *[DAY_MS] * 19], dtype=np.int64)
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
    (a, b, lacks) = look(journal, {"a": numbers, "b": numbers, "colour": PROFILES["colour"]}).notes
    assert a.startswith("Correlations of `a` are not watched")
    assert "numbers that are known in 75 % of them" in a
    assert "`b`" in b
    assert lacks.startswith("The journal has no values of `colour`, so nothing of them is compared")
    assert look(journal, PROFILES).notes == ()


@pytest.mark.parametrize("known", [True, False])
def test_of_ids_only_the_share_of_missing_values_is_compared(
    journal: SqlJournal, known: bool
) -> None:
    ibans = [f"DE{n:06}" for n in range(2_000)]
    profile = profile_feature(ibans) if known else None
    ids = [f"FR{n:06}" for n in range(1_400)]
    journal.append([decision(n, [{"iban": each}]) for n, each in enumerate(ids)], [])
    found = look(journal, {"iban": profile})
    one = stream(found, "iban")
    assert (one.kind, one.alarm, one.unseen) == ("distinct", False, ())
    assert one.rows == (1_400 if known else 400)
    (note,) = found.notes
    assert note.startswith("Of `iban` nearly every value is another")
    journal.append([decision(n, [{"iban": None}]) for n in range(1_400, 1_800)], [])
    found = look(journal, {"iban": profile})
    assert stream(found, "iban").alarm
    # What is stored of it between two looks has none of them either.
    fold = DriftFold(journal, lambda _: {"iban": profile})
    assert fold.follow()
    fold.read(journal.end().decisions, 2_000)
    fold.save(0, {})
    stored = json.dumps(journal.remembered(CONSUMER, [key for _, key in fold.arms.values()]))
    assert '"distinct"' in stored
    assert not any(each in stored for each in (*ibans[:50], *ids[:50]))
