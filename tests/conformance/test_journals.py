"""What every implementation of `Journal` keeps to."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from mlops.errors import ConflictError
from mlops.journal.base import Journal, JournalUnavailableError
from mlops.journal.records import (
    WHOLE_REQUEST,
    Fate,
    Loss,
    PolicyEpoch,
    RevisionEvent,
    ShadowPair,
    ShadowTruth,
    Traffic,
    Value,
)
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Columns, Records, Rows, Tensor
from tests.conformance.journals import Json, fates, shadow
from tests.journal.rows import T0, decision, nonce, outcome

# Decisions.


def test_an_empty_journal(journal: Journal) -> None:
    assert journal.append([], []) == []
    assert list(journal.observations()) == []
    assert journal.traffic() == []
    assert journal.traffic_over_time([1], 1000) == []
    assert journal.revision_events() == []
    assert journal.losses() == {}


def test_a_decision_is_stored_once(journal: Journal) -> None:
    first = decision(1, latency_us=5)
    journal.append([first, decision(1, latency_us=7)], [])
    journal.append([first, decision(2, latency_us=9)], [])
    (traffic,) = journal.traffic()
    assert (traffic.drawn, traffic.latency_us_mean) == (2, 7.0)


def test_traffic_is_counted_by_revision_and_arm(journal: Journal) -> None:
    unit, other = b"unit----", b"other---"
    journal.append(
        [
            decision(1, unit=unit, n_rows=3, latency_us=10),
            decision(2, unit=unit, latency_us=20),
            decision(3, unit=other, latency_us=60, status=500, predictions=None),
            # A tester's request: not drawn, no unit, no latency, but an error all the same.
            decision(4, unit=b"tester--", propensity=0.0, latency_us=9_000, status=504),
            decision(5, arm=1, latency_us=1, status=400),
            decision(6, arm=1, propensity=0.0),
            decision(7, revision=2, arm=1, propensity=0.0),
        ],
        [],
    )
    assert journal.traffic() == [
        Traffic(1, 0, 3, 2, 1, 2, 6, 30.0, T0 + 1, T0 + 4),
        # Without a unit each request is its own.
        Traffic(1, 1, 1, 1, 1, 0, 2, 1.0, T0 + 5, T0 + 6, refused=1, alone=1),
        Traffic(2, 1, 0, 0, 1, 0, 1, 0.0, T0 + 7, T0 + 7),
    ]


def test_traffic_over_time(journal: Journal) -> None:
    journal.append(
        [
            decision(1, time_ms=T0),
            decision(2, time_ms=T0 + 999),
            decision(3, time_ms=T0 + 1000),
            decision(4, time_ms=T0 + 1000, propensity=0.0),
            decision(5, time_ms=T0, arm=1),
            decision(6, time_ms=T0, revision=2),
            decision(7, time_ms=T0, revision=3),
        ],
        [],
    )
    slices = journal.traffic_over_time([1, 2], 1000)
    assert [(s.start_ms - T0, s.revision, s.arm, s.drawn) for s in slices] == [
        (0, 1, 0, 2),
        (0, 1, 1, 1),
        (0, 2, 0, 1),
        (1000, 1, 0, 1),
    ]


def test_requests_are_read_in_the_order_of_the_draws(journal: Journal) -> None:
    unit = b"ann-----"
    drawn = [decision(3, time_ms=T0, unit=unit, status=500), decision(1), decision(2, revision=2)]
    journal.append([*drawn, decision(4, propensity=0.0)], [])
    found = [(r.nonce, r.status, r.unit, r.latency_us) for r in journal.drawn_requests([1])]
    assert found == [
        (nonce(3), 500, unit, drawn[0].latency_us), (nonce(1), 200, None, drawn[1].latency_us)
    ]  # fmt: skip


def test_requests_and_outcomes_as_columns(journal: Journal) -> None:
    journal.append(
        [
            decision(1, time_ms=T0 + 5, status=500), decision(2, arm=1, predictions=["red"]),
            decision(3, propensity=0.0), decision(4, revision=2), decision(5, n_rows=2),
        ],
        [outcome(1, reward=1.0), outcome(2, reward=None, truth="red"),
         outcome(9, reward=None, truth=4.0)],
    )  # fmt: skip
    (drawn,) = journal.request_columns([1])
    assert drawn.times_ms.tolist() == [T0 + 5, T0 + 2, T0 + 5]
    assert (drawn.statuses.tolist(), drawn.arms.tolist()) == ([500, 200, 200], [0, 1, 0])
    assert not drawn.sticky.any()
    (told,) = journal.outcome_columns([1])
    assert [bytes(each) for each in told.nonces] == [nonce(1), nonce(2), nonce(9)]
    assert told.matched.tolist() == [True, False, False]
    assert (told.requests > 0).tolist() == [True, True, False]
    assert told.request_arms.tolist() == [0, 1, 0]
    assert (told.truth_texts[1], told.prediction_texts[1]) == ('"red"', '["red"]')
    assert [str(each) for each in told.rewards.tolist()] == ["1.0", "nan", "nan"]
    journal.append([decision(6, unit=b"somebody")], [outcome(6, reward=1.0)])
    journal.void([nonce(1)], time_ms=T0, reason="a test", by="me")
    (drawn,), (told,) = journal.request_columns([1]), journal.outcome_columns([1])
    assert drawn.sticky.tolist() == [False, False, False, True]
    assert told.sticky.tolist() == [False, False, True]
    assert len(told.nonces) == 3
    assert not list(journal.request_columns([7]))
    assert not list(journal.outcome_columns([7]))


def test_a_feature_is_read_of_first_rows(journal: Journal) -> None:
    kept = Rows([[30, "de"], [40, "es"]], ("age", "country"))
    drawn = [
        decision(1, features=kept), decision(2, features=Tensor([[1.0]])),
        decision(3), decision(4, revision=2, features=kept),
        decision(5, propensity=0.0, features=kept), decision(6, features=Records([{"age": 7}])),
    ]  # fmt: skip
    journal.append(drawn, [])
    assert dict(journal.cells([1], "country")) == {nonce(1): "de"}
    assert dict(journal.cells([1], "age")) == {nonce(1): 30, nonce(6): 7}


def test_one_decision_with_all_that_was_kept_of_it(journal: SqlJournal) -> None:
    kept = Rows([[30, "de"], [40, None]], ("age", "country"))
    whole = decision(1, features=kept, n_rows=2, predictions=[1.5, "x"], epoch=3, key_id="app")
    journal.append([whole, decision(2, features=Rows([[1.0]])), decision(3, unit=b"ann-----")], [])
    found = journal.decision(nonce(1))
    assert found is not None
    assert found.decision == whole._replace(features=None)
    assert found.rows is not None
    assert (found.rows.names, found.rows.rows) == (["age", "country"], [[30, "de"], [40, None]])
    plain = journal.decision(nonce(2))
    assert plain is not None
    assert plain.rows is not None
    assert (plain.rows.names, plain.rows.rows) == (None, [[1.0]])
    without = journal.decision(nonce(3))
    assert without is not None
    assert (without.rows, without.decision.unit) == (None, b"ann-----")
    assert journal.decision(nonce(4)) is None


def test_the_first_decision_of_a_unit(journal: SqlJournal) -> None:
    ann = b"ann-----"
    journal.append(
        [
            decision(1, unit=ann, time_ms=T0 + 9),
            decision(2, unit=ann, time_ms=T0 + 5, revision=2),
            decision(3, unit=ann, time_ms=T0 + 7),
            # A tester's request decides nothing.
            decision(4, unit=ann, time_ms=T0, propensity=0.0),
            decision(5, unit=b"bob-----", time_ms=T0),
        ],
        [],
    )

    def first(*revisions: int) -> bytes | None:
        found = journal.first_of_unit(ann, revisions)
        return found.decision.nonce if found else None

    assert (first(1), first(1, 2), first(3)) == (nonce(3), nonce(2), None)


def test_a_shadow_is_stored_once_and_counts_nowhere(journal: Journal) -> None:
    journal.append([decision(1)], [])
    journal.record([shadow(1), shadow(1), shadow(1, shadow=1)])
    journal.record([shadow(1), shadow(2)])
    (traffic,) = journal.traffic()
    assert traffic.drawn == 1
    assert list(journal.observations()) == []
    pairs = list(journal.shadow_pairs([1]))
    assert [(pair.shadow, pair.predictions) for pair in pairs] == [
        (0, [1.5]),
        (1, [1.5]),
        (0, [2.5]),
    ]
    assert list(journal.shadow_pairs([2])) == []


def test_a_shadow_stands_beside_what_was_served(journal: Journal) -> None:
    served = decision(1, arm=1, latency_us=70, predictions=[1.0, "red"], n_rows=2)
    journal.append([served, decision(3, status=500, predictions=None)], [])
    journal.record(
        [
            shadow(1, predictions=[1.5, "red"]),
            shadow(2, status=504, predictions=None),
            shadow(3, revision=2),
        ]
    )
    assert list(journal.shadow_pairs([1])) == [
        ShadowPair(1, 0, 200, 500, [1.5, "red"], 1, 200, 70, [1.0, "red"]),
        # Its decision was shed; and a retry after a change was answered by another revision.
        ShadowPair(1, 0, 504, 500, None, None, None, None, None),
    ]
    assert [pair.arm for pair in journal.shadow_pairs([2])] == [None]


def test_truths_of_what_a_shadow_saw(journal: Journal) -> None:
    journal.append(
        [decision(1, predictions=[1.0]), decision(2, predictions=[1.0, 2.0], n_rows=2)],
        [outcome(1, truth=3.0), outcome(2, row=1, truth="x"), outcome(2, row=0, reward=1.0)],
    )
    journal.record([shadow(1), shadow(2, predictions=[7.0, 8.0]), shadow(9)])
    assert list(journal.shadow_truths([1])) == [
        ShadowTruth(1, 0, 0, 1.5, 1.0, 3.0),
        ShadowTruth(1, 0, 0, 8.0, 2.0, "x"),
    ]


# What is stored comes back.


@pytest.mark.parametrize(
    "truth", [0.0, -1.5, 1e300, True, False, "red", "", "6", "naïve 🍷", "nul\0", None, 7]
)
def test_a_truth_comes_back(journal: Journal, truth: Value) -> None:
    journal.append([decision(1)], [outcome(1, truth=truth)])
    (seen,) = journal.observations()
    assert seen.truth == truth
    assert isinstance(seen.truth, bool) == isinstance(truth, bool)


@pytest.mark.parametrize(
    "prediction", [0.0, 1e-300, 7, True, "red", "nul\0", None, [0.1, 0.9], {"a": 1, "b": None}]
)
def test_a_prediction_comes_back(journal: Journal, prediction: Json) -> None:
    journal.append([decision(1, predictions=[prediction])], [outcome(1)])
    (seen,) = journal.observations()
    assert seen.prediction == prediction


def test_no_number_is_no_prediction(journal: Journal) -> None:
    for number, prediction in enumerate((float("nan"), float("inf"), float("-inf"))):
        journal.append([decision(number, predictions=[prediction])], [outcome(number)])
    assert [seen.prediction for seen in journal.observations()] == [None] * 3


def test_what_has_no_json_form_stops_nothing(journal: Journal) -> None:
    """Models answer anything."""
    odd: list[Json] = [2**70, {1: "x"}, b"bytes", 1 + 2j, "\ud800", object(), {"a": {2**70}}]
    journal.append(
        [
            decision(n, predictions=[value], features=Columns({"x": [value]}))
            for n, value in enumerate(odd)
        ],
        [outcome(n) for n in range(len(odd))],
    )
    assert len(list(journal.observations())) == len(odd)


def test_observations_of_some_revisions(journal: Journal) -> None:
    journal.append([], [outcome(number, revision=1 + number % 3) for number in range(6)])
    assert [seen.revision for seen in journal.observations([3, 1])] == [1, 3, 1, 3]
    assert list(journal.observations([])) == []
    sequence = [seen.seq for seen in journal.observations()]
    assert sequence == sorted(sequence)


def test_rows_that_have_a_truth(journal: Journal) -> None:
    kept = Rows([[1, "x"], [2, "y"]], ("a", "b"))
    journal.append(
        [
            decision(1, features=Records([{"a": 1}]), unit=b"unit----"),
            decision(2, features=kept, n_rows=2, predictions=[1.0, 2.0]),
            decision(3, features=Columns({"a": [7]})),
            decision(4),
            decision(5, features=kept, revision=2),
            decision(6, features=kept),
        ],
        [
            outcome(2, row=1, truth="red"),
            outcome(1, truth=5.0),
            outcome(2, row=WHOLE_REQUEST, truth=1.0),
            outcome(3, truth=6.0),
            outcome(4, truth=6.0),
            outcome(5, truth=6.0, revision=2),
            outcome(6, reward=1.0),
            outcome(7, truth=6.0),
        ],
    )
    rows = list(journal.labelled_rows([1]))
    assert [(row.nonce, row.features, row.truth) for row in rows] == [
        (nonce(2), {"a": 2, "b": "y"}, "red"),
        (nonce(1), {"a": 1}, 5.0),
        (nonce(3), {"a": 7}, 6.0),
    ]
    assert [row.unit for row in rows] == [None, b"unit----", None]


def test_revision_events_come_back_in_order(journal: Journal) -> None:
    events = [
        RevisionEvent(1, T0, "started", {"arms": [{"name": "a"}]}),
        RevisionEvent(2, T0 + 5, "live", {"arms": []}),
        RevisionEvent(2, T0 + 3, "note", {"text": "nul\0 naïve"}),
        RevisionEvent(2, T0 + 9, "stopped"),
    ]
    for each in events:
        journal.record([each])
    assert journal.revision_events() == events


def test_epochs_of_a_policy(journal: Journal) -> None:
    spec = {"arms": [{"name": "a", "weight": 0.25}, {"name": "b", "weight": 0.75}]}
    journal.record([RevisionEvent(1, T0, "started", spec), RevisionEvent(2, T0 + 9, "live", spec)])
    newer = PolicyEpoch(1, 1, T0 + 5, (0.5, 0.5), {"alpha": [1.0, 2.0]})
    journal.record([newer])
    # Written again, it stands as it is, and so does what a revision begins with.
    journal.record([newer, RevisionEvent(1, T0 + 99, "started", spec)])
    # Another one of this number, with all that belongs to it, is refused.
    with pytest.raises(ConflictError, match="policy epoch 1 of revision 1 already"):
        journal.record([replace(newer, epoch=2), replace(newer, probabilities=(1.0, 0.0))])
    first = PolicyEpoch(1, 0, T0, (0.25, 0.75))
    assert journal.epochs([1]) == [first, newer]
    assert [(each.revision, each.epoch) for each in journal.epochs()] == [(1, 0), (1, 1), (2, 0)]
    journal.append([decision(1), decision(2, epoch=1)], [])
    assert journal.epochs([7]) == []
    latest = PolicyEpoch(1, 3, T0 + 7, (0.75, 0.25))
    journal.record([replace(newer, epoch=2), latest])
    assert [journal.newer_epoch(1, after) for after in (0, 2, 3)] == [latest, latest, None]
    assert journal.newer_epoch(2, 0) is None


def test_features_are_forgotten_and_statistics_stay(journal: SqlJournal, url: str) -> None:
    """By a second reader, as `mlops journal prune` is one beside the server."""
    features = Rows([[1.5]], ("x",))
    numbers = range(12_000)
    journal.append([decision(n, features=features) for n in numbers], [])
    journal.append([], [outcome(n, truth=1.0) for n in range(0, 12_000, 1000)])
    before = journal.traffic(), list(journal.observations())
    other = SqlJournal(url)
    old = T0 + 7_000
    assert other.count_features(old) == 7_000
    assert other.size_bytes() > 100_000
    assert sum(other.forget_features(old)) == 7_000
    assert other.count_features(old) == 0
    assert sum(other.forget_features(old)) == 0
    assert (journal.traffic(), list(journal.observations())) == before
    assert len(list(journal.labelled_rows([1]))) == 5
    other.give_back()
    assert other.is_file == url.startswith("sqlite")
    other.close()
    # A retry of a request whose features are gone does not bring them back.
    journal.append([decision(1, features=features)], [])
    assert journal.count_features(old) == 0


def test_a_prune_that_the_database_refuses(journal: SqlJournal, url: str) -> None:
    journal.append([decision(1, features=Columns({"x": [1]}))], [])
    _execute(url, "ALTER TABLE decisions RENAME TO gone")
    with pytest.raises(JournalUnavailableError):
        list(journal.forget_features(T0 + 10))


def test_what_is_settled_stays(journal: Journal) -> None:
    assert journal.settle("watcher", "key", {"a": 1}, T0) == {"a": 1}
    assert journal.settle("watcher", "key", {"a": 2}, T0 + 1) == {"a": 1}
    assert journal.settle("watcher", "other", 2, T0) == 2
    assert journal.remembered("watcher", ["key", "other"]) == {"key": {"a": 1}, "other": 2}
    journal.remember("watcher", {"key": 3}, T0)
    assert journal.settle("watcher", "key", 4, T0) == 3


def test_losses_add_up(journal: Journal) -> None:
    for kind, count in (("decision", 3), ("other", 1), ("decision", 4)):
        journal.record([Loss(kind, count, T0)])
    assert journal.losses() == {"decision": 7, "other": 1}


def test_everything_is_there_after_opening_again(journal: Journal, url: str) -> None:
    journal.append([decision(1)], [outcome(1)])
    journal.close()
    again = SqlJournal(url)
    assert [seen.nonce for seen in again.observations()] == [nonce(1)]
    assert fates(again, [outcome(1)]) == [Fate.DUPLICATE]
    again.close()


# Two at once, and trouble.


def test_one_writes_while_another_reads(journal: Journal, url: str) -> None:
    reader = SqlJournal(url)
    done = threading.Event()
    faults: list[JournalUnavailableError] = []

    def write() -> None:
        try:
            for batch in range(40):
                numbers = range(batch * 20, batch * 20 + 20)
                journal.append([decision(n) for n in numbers], [outcome(n) for n in numbers])
        except JournalUnavailableError as error:
            faults.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=write)
    thread.start()
    counts = []
    while not done.is_set():
        # A batch is seen whole or not at all.
        counts.append(len(list(reader.observations())))
        traffic = reader.traffic()
        assert not traffic or traffic[0].drawn % 20 == 0
        reader.record([Loss("decision", 1, T0)])
    thread.join()
    assert not faults
    assert counts == sorted(counts)
    assert all(count % 20 == 0 for count in counts)
    assert len(list(reader.observations())) == 800
    reader.close()


def test_a_batch_is_stored_whole_or_not_at_all(journal: Journal, url: str) -> None:
    journal.append([decision(1)], [outcome(1)])
    _execute(url, "ALTER TABLE outcomes RENAME TO gone")
    with pytest.raises(JournalUnavailableError) as caught:
        journal.append([decision(2)], [outcome(2)])
    assert caught.value.hint
    _execute(url, "ALTER TABLE gone RENAME TO outcomes")
    (traffic,) = journal.traffic()
    assert traffic.drawn == 1
    # It may be tried again.
    assert fates(journal, [outcome(2)], [decision(2)]) == [Fate.ACCEPTED]


def test_administrative_rows_that_cannot_be_stored(journal: Journal, url: str) -> None:
    _execute(url, "ALTER TABLE losses RENAME TO gone")
    with pytest.raises(JournalUnavailableError):
        journal.record([Loss("decision", 1, T0)])
    _execute(url, "ALTER TABLE revisions RENAME TO gone_too")
    with pytest.raises(JournalUnavailableError):
        journal.record([RevisionEvent(1, T0, "live")])


def test_records_are_not_changed(journal: Journal) -> None:
    predictions = [1.5]
    given_decision, given_outcome = decision(1, predictions=predictions), outcome(1)
    copies = given_decision._replace(predictions=[1.5]), replace(given_outcome)
    journal.append([given_decision], [given_outcome])
    assert (given_decision, given_outcome) == copies


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
