"""What every implementation of `Journal` keeps to when it takes outcomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from mlops.journal import joining, rows
from mlops.journal.base import Journal
from mlops.journal.records import (
    WHOLE_REQUEST,
    Fate,
    NewOutcome,
    ShadowDecision,
    Void,
)
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Records, Rows, Tensor
from tests.conformance.journals import fates
from tests.journal.rows import T0, decision, named, nonce, outcome

# Fates.


def test_an_outcome_meets_its_decision(journal: Journal) -> None:
    journal.append([decision(1, predictions=[2.5])], [])
    (stored,) = journal.append([], [outcome(1, truth=3.0)])
    assert (stored.fate, stored.prediction) == (Fate.ACCEPTED, 2.5)
    assert stored.decided_ms == T0 + 1
    # The only row of a request and the whole of it are one.
    assert stored.outcome == outcome(1, row=0, truth=3.0)
    again = [outcome(1, truth=3.0), outcome(1, row=0, truth=3.0), outcome(1, truth=4.0)]
    assert fates(journal, again) == [Fate.DUPLICATE, Fate.DUPLICATE, Fate.CONFLICT]


def test_an_outcome_may_name_a_decision_of_its_own_batch(journal: Journal) -> None:
    assert fates(journal, [outcome(1)], [decision(1)]) == [Fate.ACCEPTED]


def test_the_truth_of_several_outputs(journal: Journal) -> None:
    decisions = [decision(1, predictions=[[2.5, 1.0]]), decision(2, predictions=[{"a": 1, "b": 2}])]
    truths: list[Any] = [[3.0, "x"], {"b": 4.0, "a": 5.0}]
    told = [outcome(n, row=0, truth=truth) for n, truth in enumerate(truths, 1)]
    assert fates(journal, told, decisions) == [Fate.ACCEPTED] * 2
    assert fates(journal, told) == [Fate.DUPLICATE] * 2
    assert fates(journal, [outcome(1, row=0, truth=[3.0, "y"])]) == [Fate.CONFLICT]
    assert [seen.truth for seen in journal.observations()] == truths


def test_what_has_not_one_value_for_each_row_or_output_is_not_stored(journal: Journal) -> None:
    decisions = [decision(1, predictions=[[2.5, 1.0]]), decision(2, n_rows=2, predictions=[1.5, 2])]
    batch: list[NewOutcome] = [
        outcome(1, row=0, truth=[1.0, 2.0, 3.0]),
        outcome(1, truth={"a": 1.0, "b": 2.0}),
        *(replace(outcome(2, row=row, truth=1.0), of_rows=3) for row in range(2)),
        outcome(2, row=0, truth=[1.0, 2.0]),
    ]
    stored = journal.append(decisions, batch)
    assert {each.fate for each in stored} == {Fate.MISFIT}
    assert [(each.n_rows, each.prediction) for each in stored[1:3]] == [(1, [2.5, 1.0]), (2, 1.5)]
    assert list(journal.observations()) == []


def list_of(number: int, truths: list[Any], reward: float | None = None) -> list[NewOutcome]:
    """The outcomes of one list, without those that are null."""
    return [
        replace(outcome(number, row=row, reward=reward, truth=truth), of_rows=len(truths),
                of_list=truths, outputs_of=lambda _: ("a", "b"))
        for row, truth in enumerate(truths)
        if truth is not None or reward is not None
    ]  # fmt: skip


def test_a_list_is_read_as_the_outputs_of_one_row_where_it_is_stored(journal: Journal) -> None:
    batch = [*list_of(1, [3.0, 4.0]), *list_of(1, [3.0, 4.0]), *list_of(1, [3.0, 5.0])]
    decisions = [decision(1, predictions=[[2.5, 1.0]]), decision(2, predictions=[[0, 1]])]
    found = [Fate.ACCEPTED, Fate.PART, Fate.DUPLICATE, Fate.PART, Fate.CONFLICT, Fate.PART]
    assert fates(journal, batch, decisions) == found
    assert fates(journal, list_of(2, [1.0, 1.0], reward=0.5)) == [Fate.ACCEPTED, Fate.PART]
    truth = {"b": 1.0, "a": 2.0}
    assert fates(journal, list_of(1, [truth, truth])) == [Fate.MISFIT, Fate.PART]
    assert fates(journal, list_of(1, [truth])) == [Fate.CONFLICT]
    seen: list[Any] = [(o.row, o.truth, o.reward) for o in journal.observations()]
    assert seen == [(0, [3.0, 4.0], None), (0, [1.0, 1.0], 0.5)]


def test_a_list_that_lacks_an_output_is_no_truth(journal: Journal) -> None:
    decisions = [decision(1, predictions=[[2.5, 1.0]])]
    nulls = list_of(1, [None, None], reward=0.5)
    assert fates(journal, nulls, decisions) == [Fate.MISFIT, Fate.PART]
    assert fates(journal, list_of(1, [5.0, None], reward=1.0)) == [Fate.MISFIT, Fate.PART]
    # Two lists about one request are not one.
    batch = [*list_of(1, [5.0, None]), *list_of(1, [None, 6.0])]
    assert fates(journal, batch) == [Fate.MISFIT, Fate.MISFIT]
    assert list(journal.observations()) == []


def test_a_list_is_not_the_truth_of_probabilities(journal: Journal) -> None:
    decisions = [decision(1, predictions=[[0.25, 0.75]])]
    assert fates(journal, list_of(1, ["a", "b"]), decisions) == [Fate.MISFIT, Fate.PART]
    assert fates(journal, [outcome(1, row=0, reward=None, truth=[0.0, 1.0])]) == [Fate.ACCEPTED]


def test_a_list_is_refused_as_a_whole(journal: Journal) -> None:
    decisions = [decision(1, n_rows=2, predictions=[[2.5, 1.0], [2.5, 1.0, 3.0]])]
    assert fates(journal, list_of(1, [[1.0, 2.0]] * 2), decisions) == [Fate.MISFIT, Fate.PART]
    assert list(journal.observations()) == []


def test_truths_by_name_are_stored_in_the_order_of_the_outputs(journal: Journal) -> None:
    decisions = [decision(1, n_rows=2, predictions=[[2.5, 1.0]] * 2)]
    named: list[Any] = [{"b": 1.0, "a": 2.0}, {"a": 3.0, "b": 4.0}]
    assert fates(journal, list_of(1, named), decisions) == [Fate.ACCEPTED] * 2
    assert fates(journal, list_of(1, [{"a": 1.0, "c": 2.0}] * 2)) == [Fate.MISFIT, Fate.PART]
    truths: list[Any] = [seen.truth for seen in journal.observations()]
    assert truths == [[2.0, 1.0], [3.0, 4.0]]


def test_predictions_of_a_request_are_read_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append([decision(1, n_rows=9, predictions=[[2.5, 1.0]] * 9)], [])
    read: list[str | None] = []

    def counted(number: float | None, text: str | None) -> list[Any] | None:
        read.append(text)
        return rows.predictions_of(number, text)

    monkeypatch.setattr(joining, "predictions_of", counted)
    assert set(fates(journal, list_of(1, [[1.0, 2.0]] * 9))) == {Fate.ACCEPTED}
    assert len(read) == 1
    rows._last_read.cache_clear()
    predictions: list[Any] = [seen.prediction for seen in journal.observations()]
    assert predictions == [[2.5, 1.0]] * 9
    assert rows._last_read.cache_info().misses == 1


def test_the_first_outcome_stands(journal: Journal) -> None:
    batch = [outcome(1, reward=1), outcome(1, reward=2)]
    assert fates(journal, batch, [decision(1)]) == [Fate.ACCEPTED, Fate.CONFLICT]
    assert fates(journal, [outcome(1, reward=3)]) == [Fate.CONFLICT]
    assert fates(journal, [outcome(1, reward=1)]) == [Fate.DUPLICATE]
    assert [seen.reward for seen in journal.observations()] == [1]


def test_a_row_may_have_several_outcomes(journal: Journal) -> None:
    def several(reward: float, outcome_id: str | None = None) -> NewOutcome:
        return replace(outcome(1, reward=reward), outcome_id=outcome_id, repeatable=True)

    batch = [several(1), several(2), several(2), several(1)]
    stored = journal.append([decision(1)], batch)
    assert [(item.fate, item.ordinal) for item in stored] == [
        (Fate.ACCEPTED, 0),
        (Fate.ACCEPTED, 1),
        (Fate.DUPLICATE, 0),
        (Fate.ACCEPTED, 2),
    ]
    # An id tells a retry from a second purchase of the same price.
    batch = [several(5, "order-1"), several(5, "order-2"), several(5, "order-1")]
    assert fates(journal, batch) == [Fate.ACCEPTED, Fate.ACCEPTED, Fate.DUPLICATE]
    seen = [(o.reward, o.ordinal) for o in journal.observations()]
    assert seen == [(1, 0), (2, 1), (1, 2), (5, 3), (5, 4)]


@pytest.mark.parametrize("repeatable", [False, True])
def test_an_id_stands_for_one_value(journal: Journal, repeatable: bool) -> None:
    def sent(reward: float | None, truth: Any = None, outcome_id: str = "order-1") -> NewOutcome:
        one = outcome(1, reward=reward, truth=truth)
        return replace(one, outcome_id=outcome_id, repeatable=repeatable)

    journal.append([decision(1)], [sent(5.0)])
    batch = [sent(5.0), sent(6.0), sent(5.0, 1.0), sent(None, 5.0), sent(6.0), sent(5.0)]
    stored = journal.append([], batch)
    assert [item.fate for item in stored] == [
        Fate.DUPLICATE, *[Fate.CONFLICT] * 4, Fate.DUPLICATE
    ]  # fmt: skip
    assert [item.id_taken for item in stored] == [False, *[True] * 4, False]
    assert [seen.reward for seen in journal.observations()] == [5.0]
    (other,) = journal.append([], [sent(6.0, outcome_id="order-2")])
    assert (other.fate is Fate.ACCEPTED, other.id_taken) == (repeatable, False)
    journal.void([nonce(1)], time_ms=5, reason="absurd", by="ana")
    # The same stays void, and what corrects it may have its id.
    assert fates(journal, [sent(5.0), sent(7.0)]) == [Fate.DUPLICATE, Fate.ACCEPTED]
    assert fates(journal, [sent(5.0), sent(8.0)]) == [Fate.DUPLICATE, Fate.CONFLICT]
    assert [seen.reward for seen in journal.observations()] == [7.0]


def test_a_truth_with_an_id_that_was_sent(journal: Journal) -> None:
    def sent(truth: Any) -> NewOutcome:
        one = outcome(1, reward=None, truth=truth)
        return replace(one, outcome_id="label-1", repeatable=True)

    assert fates(journal, [sent("6")], [decision(1)]) == [Fate.ACCEPTED]
    # A file in which another cell is no number may have written it as text.
    assert fates(journal, [sent(6.0), sent("6"), sent("six"), sent(7.0)]) == [
        Fate.DUPLICATE, Fate.DUPLICATE, Fate.CONFLICT, Fate.CONFLICT
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "again", "others"),
    [
        (["6", 5], [6, 5.0], ([6, 4], [6, 5, 5], {"a": 6, "b": 5}, 6)),
        ({"a": 1, "b": "red"}, {"b": "red", "a": "1"}, ({"a": 1, "b": 2}, {"a": 1}, [1, "red"])),
    ],
)
def test_a_truth_of_several_outputs_that_was_sent(
    journal: Journal, first: Any, again: Any, others: tuple[Any, ...]
) -> None:
    def sent(truth: Any) -> NewOutcome:
        return replace(outcome(1, reward=None, truth=truth), outcome_id="label-1")

    assert fates(journal, [sent(first)]) == [Fate.UNMATCHED]
    assert fates(journal, [sent(again)]) == [Fate.DUPLICATE]
    assert fates(journal, [sent(truth) for truth in others]) == [Fate.CONFLICT] * len(others)


def test_what_was_void_and_corrected_is_restored_under_an_id_of_its_own(journal: Journal) -> None:
    def sent(reward: float, outcome_id: str) -> NewOutcome:
        return replace(outcome(1, reward=reward), outcome_id=outcome_id)

    journal.append([decision(1)], [sent(5.0, "order-1")])
    for reward, outcome_id in ((6.0, "order-1"), (5.0, "order-1-restored")):
        journal.void([nonce(1)], time_ms=5, reason="absurd", by="ana")
        assert fates(journal, [sent(5.0, "order-1")]) == [Fate.DUPLICATE]
        assert fates(journal, [sent(reward, outcome_id)]) == [Fate.ACCEPTED]
        assert [seen.reward for seen in journal.observations()] == [reward]


def test_a_corrected_truth_is_read_once(journal: Journal) -> None:
    journal.append([decision(1, features=Records([{"a": 1}]), arm=1, propensity=0.25)], [])
    for truth in (3.0, 4.0):
        told = outcome(1, arm=1, propensity=0.25, reward=None, truth=truth)
        journal.append([], [replace(told, repeatable=True)])
    (row,) = journal.labelled_rows([1])
    assert (row.truth, row.arm, row.propensity) == (4.0, 1, 0.25)


def test_outcomes_say_with_which_key_they_came(journal: Journal) -> None:
    kept = Rows([[30]], ("age",))
    sent = [
        replace(outcome(number, row=0, truth=1.0), key_id=key, time_ms=T0 + number)
        for number, key in enumerate(("app-1", None, "app-2"))
    ]
    journal.append([decision(number, features=kept) for number in range(3)], sent)
    assert [seen.key_id for seen in journal.observations()] == ["app-1", None, "app-2"]
    labelled = [(row.key_id, row.time_ms) for row in journal.labelled_rows([1])]
    assert labelled == [("app-1", T0), (None, T0 + 1), ("app-2", T0 + 2)]


def test_an_outcome_before_its_decision_is_joined_when_read(journal: Journal) -> None:
    (stored,) = journal.append([], [outcome(1, truth=3.0)])
    assert (stored.fate, stored.prediction) == (Fate.UNMATCHED, None)
    (seen,) = journal.observations()
    assert (seen.prediction, seen.decided_ms, seen.unit) == (None, None, None)
    journal.append([decision(1, predictions=[2.5], unit=b"unit----")], [])
    (seen,) = journal.observations()
    assert (seen.prediction, seen.decided_ms, seen.unit) == (2.5, T0 + 1, b"unit----")
    again = [outcome(1, truth=3.0), outcome(1, row=0, truth=3.0), outcome(1)]
    assert fates(journal, again) == [Fate.DUPLICATE, Fate.DUPLICATE, Fate.CONFLICT]


def test_a_row_that_turns_out_not_to_be_there_is_not_read(journal: Journal) -> None:
    early = [outcome(1, row=0), outcome(1, row=1), outcome(1, row=7)]
    assert fates(journal, early) == [Fate.UNMATCHED] * 3
    journal.append([decision(1, n_rows=2, predictions=[1.0, 2.0])], [])
    assert [(seen.row, seen.prediction) for seen in journal.observations()] == [(0, 1.0), (1, 2.0)]


def test_a_row_that_is_not_there_is_not_stored(journal: Journal) -> None:
    journal.append([decision(1, n_rows=2, predictions=[1.0, 2.0])], [])
    assert fates(journal, [outcome(1, row=1), outcome(1, row=2)]) == [
        Fate.ACCEPTED,
        Fate.NO_SUCH_ROW,
    ]
    assert [seen.row for seen in journal.observations()] == [1]


def test_rows_of_one_request_are_apart(journal: Journal) -> None:
    journal.append([decision(1, n_rows=3, predictions=[1.0, "red", {"p": 0.5}])], [])
    batch = [outcome(1, row=row) for row in (2, 0, 1, WHOLE_REQUEST)]
    stored = journal.append([], batch)
    assert [item.fate for item in stored] == [Fate.ACCEPTED] * 4
    # A request of several rows has no one prediction.
    assert [item.prediction for item in stored] == [{"p": 0.5}, 1.0, "red", None]
    assert [seen.row for seen in journal.observations()] == [2, 0, 1, WHOLE_REQUEST]


def test_a_retry_under_another_arm_meets_no_prediction(journal: Journal) -> None:
    journal.append([decision(1, arm=0, predictions=[2.5])], [])
    (stored,) = journal.append([], [outcome(1, arm=1, propensity=0.25)])
    assert (stored.fate, stored.prediction) == (Fate.UNMATCHED, None)
    (seen,) = journal.observations()
    assert (seen.arm, seen.propensity, seen.prediction) == (1, 0.25, None)


def test_a_retry_under_another_revision_meets_no_prediction(journal: Journal) -> None:
    journal.append([decision(1, revision=1, predictions=[2.5])], [])
    assert fates(journal, [outcome(1, revision=2)]) == [Fate.UNMATCHED]


def test_a_client_id_names_its_only_decision(journal: Journal) -> None:
    journal.append([decision(1, client_id="mine", arm=3, revision=2, propensity=0.125)], [])
    (stored,) = journal.append([], [named("mine")])
    assert stored.fate is Fate.ACCEPTED
    found = stored.outcome
    assert (found.nonce, found.revision, found.arm, found.propensity) == (nonce(1), 2, 3, 0.125)
    (seen,) = journal.observations()
    assert (seen.nonce, seen.arm) == (nonce(1), 3)
    # By either name it is the same outcome.
    assert fates(journal, [outcome(1, revision=2, arm=3), named("mine")]) == [Fate.DUPLICATE] * 2


def test_a_client_id_that_was_not_used(journal: Journal) -> None:
    assert fates(journal, [named("mine")], [decision(1)]) == [Fate.UNKNOWN]
    assert list(journal.observations()) == []


def test_a_client_id_that_several_used(journal: Journal) -> None:
    journal.append([decision(number, client_id="same") for number in range(5)], [])
    assert fates(journal, [named("same")]) == [Fate.AMBIGUOUS]
    assert list(journal.observations()) == []


def test_unknown_client_ids_do_not_hold_others_up(journal: SqlJournal) -> None:
    """One statement for each took a second of the writer for a batch of 10,000."""
    journal.append([decision(n, client_id=f"c{n}") for n in range(50)], [])
    statements: list[str] = []
    event.listen(
        journal._engine, "before_cursor_execute", lambda _c, _k, text_, *_: statements.append(text_)
    )
    batch = [named(f"unknown {n}") for n in range(2_000)] + [named("c7"), named("c9")]
    stored = journal.append([], batch)
    assert [item.fate for item in stored] == [Fate.UNKNOWN] * 2_000 + [Fate.ACCEPTED] * 2
    assert len(statements) < 12


@pytest.mark.parametrize("client_id", ["nul\0", "x" * 100_000, "é" * 5_000, "'; --"])
def test_any_client_id_is_stored_or_left_out(journal: Journal, client_id: str) -> None:
    """A caller chooses it; none may stop the journal."""
    random = "".join(map(str, range(20_000)))  # does not compress away
    journal.append([decision(1, client_id=client_id), decision(2, client_id=random)], [])
    assert fates(journal, [outcome(1), outcome(2)]) == [Fate.ACCEPTED] * 2
    assert fates(journal, [named(client_id), named(random)])[0] in (Fate.DUPLICATE, Fate.UNKNOWN)


def test_fates_come_in_the_order_of_the_outcomes(journal: Journal) -> None:
    journal.append([decision(1, client_id="mine"), decision(2), decision(3)], [])
    batch = [
        outcome(9),
        named("mine"),
        outcome(3),
        named("nobody's"),
        outcome(2, row=5),
        outcome(3),
        outcome(2),
        outcome(1),
    ]
    stored = journal.append([], batch)
    assert [item.fate for item in stored] == [
        Fate.UNMATCHED,
        Fate.ACCEPTED,
        Fate.ACCEPTED,
        Fate.UNKNOWN,
        Fate.NO_SUCH_ROW,
        Fate.DUPLICATE,
        Fate.ACCEPTED,
        Fate.DUPLICATE,
    ]
    assert [seen.nonce for seen in journal.observations()] == [nonce(n) for n in (9, 1, 3, 2)]


def test_a_big_batch(journal: Journal) -> None:
    """More keys than a statement may have variables."""
    n = 3_000
    journal.append([decision(number, client_id=f"c{number}") for number in range(n)], [])
    batch = [outcome(number, truth=float(number)) for number in range(n)]
    stored = journal.append([], [*batch, *batch[:1_000]])
    assert [item.fate for item in stored] == [Fate.ACCEPTED] * n + [Fate.DUPLICATE] * 1_000
    assert [item.prediction for item in stored[:n]] == [float(number) for number in range(n)]
    assert [seen.truth for seen in journal.observations()] == [float(x) for x in range(n)]


# Voided outcomes.


def test_a_void_outcome_counts_nowhere_and_stays(journal: Journal, url: str) -> None:
    decided = [decision(n, features=Tensor([[1.0]])) for n in (1, 2, 3)]
    journal.append(decided, [outcome(n, reward=float(n), truth=float(n)) for n in (1, 2, 3)])
    journal.append([], [outcome(7, reward=7.0)])  # its decision was shed
    assert journal.void([nonce(2), nonce(7), nonce(99)], time_ms=5, reason="a test", by="ana") == 2
    assert journal.void([nonce(2)], time_ms=6, reason="again", by="ana") == 0
    assert [seen.reward for seen in journal.observations()] == [1.0, 3.0]
    assert [row.truth for row in journal.labelled_rows([1])] == [1.0, 3.0]
    assert journal.totals() == {"requests": 3, "outcomes": 2}
    assert isinstance(journal, SqlJournal)
    rows = [(row.nonce, row.reward) for row in journal.joined_rows()]
    assert rows == [(nonce(1), 1.0), (nonce(2), None), (nonce(3), 3.0)]
    assert journal.voids() == [Void(1, 5, "a test", "ana", 2)]
    engine = create_engine(url)
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT reward FROM outcomes ORDER BY seq")).scalars()
        assert list(kept) == [1.0, 2.0, 3.0, 7.0]
    engine.dispose()


def test_after_a_void_the_real_outcome_is_taken_and_the_old_one_is_not(journal: Journal) -> None:
    assert fates(journal, [outcome(1, reward=1e60)], [decision(1)]) == [Fate.ACCEPTED]
    journal.void([nonce(1)], time_ms=5, reason="absurd", by="ana")
    assert fates(journal, [outcome(1, reward=1e60)]) == [Fate.DUPLICATE]
    assert fates(journal, [outcome(1, reward=2.0)]) == [Fate.ACCEPTED]
    assert fates(journal, [outcome(1, reward=3.0)]) == [Fate.CONFLICT]
    assert [seen.reward for seen in journal.observations()] == [2.0]


def test_where_the_last_correction_is_void_the_one_before_stands(journal: Journal) -> None:
    shadow = ShadowDecision(nonce(1), 1, 0, T0, 5, 200, [1.0])
    first = replace(outcome(1, reward=None, truth=4.0), repeatable=True)
    journal.append([decision(1, features=Tensor([[1.0]]))], [first])
    journal.record([shadow])
    journal.void([nonce(1)], time_ms=5, reason="wrong", by="ana")
    assert list(journal.shadow_truths([1])) == []
    journal.append([], [replace(first, truth=5.0)])
    assert [row.truth for row in journal.labelled_rows([1])] == [5.0]
    assert [row.truth for row in journal.shadow_truths([1])] == [5.0]
