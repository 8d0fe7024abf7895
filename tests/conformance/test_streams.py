"""What every journal keeps to as a log: in order, from an offset, with nothing skipped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mlops.errors import RemoteError
from mlops.journal import sql, streaming
from mlops.journal.records import StoredOutcome, Value
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Columns, Payload, Records, Rows, Tensor
from tests.conformance.journals import JOURNALS
from tests.journal.rows import T0, decision, nonce, outcome


@pytest.fixture(params=JOURNALS)
def url(request: pytest.FixtureRequest) -> str:
    return JOURNALS[request.param](request)


@pytest.fixture
def journal(url: str) -> Iterator[SqlJournal]:
    opened = SqlJournal(url)
    yield opened
    opened.close()


def _nonces(journal: SqlJournal, after: int, limit: int) -> tuple[list[bytes], int]:
    found = journal.decisions(after, journal.end().decisions, limit)
    return list(found.nonces), int(found.seqs[-1]) if len(found) else after


def test_an_empty_log(journal: SqlJournal) -> None:
    assert journal.end() == (0, 0)
    assert len(journal.decisions(0, 0, 10)) == 0
    assert journal.decisions(0, 0, 10).features() == []
    assert journal.outcomes(0, 0, 10) == ([], 0)


def test_each_reader_goes_on_where_it_was(journal: SqlJournal) -> None:
    journal.append([decision(n) for n in range(10)], [])
    first, offset = _nonces(journal, 0, 4)
    journal.append([decision(n) for n in range(5, 15)], [])
    rest, end = _nonces(journal, offset, 100)
    assert first + rest == [nonce(n) for n in range(15)]
    assert _nonces(journal, end, 100) == ([], end)
    # Another reader, from the beginning.
    assert _nonces(journal, 0, 100) == (first + rest, end)


def test_decisions_come_as_columns(journal: SqlJournal) -> None:
    unit = b"unit----"
    journal.append(
        [
            decision(1, epoch=3, unit=unit, client_id="mine", arm=1, propensity=0.25),
            decision(2, n_rows=2, predictions=["red", 1.0], status=500, revision=7),
            decision(3, predictions=None),
        ],
        [],
    )
    found = journal.decisions(0, journal.end().decisions, 10)
    assert found.times_ms.tolist() == [T0 + 1, T0 + 2, T0 + 3]
    assert (found.arms.tolist(), found.revisions.tolist()) == ([1, 0, 0], [1, 7, 1])
    assert (found.epochs.tolist(), found.propensities.tolist()) == ([3, 0, 0], [0.25, 0.5, 0.5])
    assert (found.n_rows.tolist(), found.statuses.tolist()) == ([1, 2, 1], [200, 500, 200])
    assert (found.units, found.client_ids) == ((unit, None, None), ("mine", None, None))
    assert [found.predictions_of(at) for at in range(3)] == [[1.0], ["red", 1.0], None]
    assert found.features() == []


def test_features_of_the_same_columns_are_one_table(journal: SqlJournal) -> None:
    payloads: list[Payload] = [
        Rows([[1.5, 2]], ("a", "b")),
        Tensor([[7, 8]]),
        Records([{"a": 3, "b": None}, {"a": 4, "b": 5}]),
        Columns({"a": [6], "c": ["x"]}),
    ]
    rows = [decision(n, features=p, n_rows=p.n_rows) for n, p in enumerate(payloads)]
    journal.append([*rows, decision(9)], [])
    found = journal.decisions(0, journal.end().decisions, 10).features()
    first, bare, other = found
    assert (first.names, first.requests.tolist()) == (("a", "b"), [0, 2, 2])
    assert first.column("a") == [1.5, 3, 4]
    assert np.array_equal(first.numbers("b"), [2, np.nan, 5], equal_nan=True)
    assert first.rows() == [[1.5, 2], [3, None], [4, 5]]
    assert (bare.names, bare.rows(), bare.requests.tolist()) == (None, [[7, 8]], [1])
    assert other.column("c") == ["x"]
    assert np.isnan(other.numbers("c")).all()
    with pytest.raises(ValueError, match="not in"):
        other.numbers("b")


@pytest.mark.parametrize("cell", ['"],["', "],[", ["],["], [[1], [2]], {"a": [1]}, '"', None, []])
def test_brackets_in_cells_part_no_rows(journal: SqlJournal, cell: Value) -> None:
    several = Rows([[cell, 1], [2, cell]], ("a", "b"))
    single = Rows([[cell, 3]], ("a", "b"))
    journal.append([decision(1, n_rows=2, features=several), decision(2, features=single)], [])
    (table,) = journal.decisions(0, 2, 10).features()
    assert table.rows() == [[cell, 1], [2, cell], [cell, 3]]


def test_large_features_wait_for_the_next_batch(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MAX_BATCH_BYTES", 2_500)
    large = Records([{"note": "x" * 1_000}])
    journal.append([decision(n, features=large) for n in range(5)], [])
    journal.append([decision(5, features=Records([{"note": "x" * 9_000}]))], [])
    sizes, after = [], 0
    while True:
        nonces, after = _nonces(journal, after, 100)
        if not nonces:
            break
        sizes.append(len(nonces))
    assert sizes == [2, 2, 1, 1]  # one that is larger alone comes alone


def test_outcomes_come_in_order_and_void_ones_are_passed_by(journal: SqlJournal) -> None:
    journal.append([decision(n, predictions=[float(n)]) for n in range(6)], [])
    journal.append([], [outcome(n, truth=1.0) for n in range(5)])
    journal.void([nonce(1), nonce(4)], time_ms=1, reason="test", by="ann")
    end = journal.end()
    found, after = journal.outcomes(0, end.outcomes, 2)
    assert [(each.nonce, each.prediction) for each in found] == [(nonce(0), 0.0), (nonce(2), 2.0)]
    found, after = journal.outcomes(after, end.outcomes, 2)
    assert [each.nonce for each in found] == [nonce(3)]
    assert (after, journal.outcomes(after, end.outcomes, 2)) == (end.outcomes, ([], end.outcomes))


def test_an_offset_never_passes_a_row_that_is_still_to_be_committed(
    journal: SqlJournal, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that began first ends last, with the smaller number."""
    inserted, go_on = threading.Event(), threading.Event()

    def store(*args: Any) -> list[StoredOutcome]:
        inserted.set()
        go_on.wait(10)
        return []

    late = SqlJournal(url)
    monkeypatch.setattr(sql, "store", store)
    slow = threading.Thread(target=late.append, args=([decision(1)], [outcome(1)]))
    slow.start()
    assert inserted.wait(10)
    quick = threading.Thread(target=journal.append, args=([decision(2)], []))
    quick.start()
    quick.join(0.5)  # in SQLite it waits for the other
    reader = SqlJournal(url)
    try:
        early = reader.end().decisions
    except RemoteError:
        early = 0
    go_on.set()
    slow.join()
    quick.join()
    assert early == 0
    assert sorted(_nonces(reader, early, 10)[0]) == [nonce(1), nonce(2)]
    late.close()
    reader.close()


def test_readers_beside_writers_see_every_row_once(journal: SqlJournal, url: str) -> None:
    n, writers = 40, 3
    done = threading.Event()

    def write(first: int) -> None:
        own = SqlJournal(url)
        for number in range(first, first + n):
            own.append([decision(number)], [outcome(number)])
        own.close()

    threads = [threading.Thread(target=write, args=(1_000 * each,)) for each in range(writers)]
    seen: list[bytes] = []
    rated: list[bytes] = []
    at, rated_at = 0, 0
    for thread in threads:
        thread.start()
    while not done.is_set() or len(seen) < n * writers:
        if not any(thread.is_alive() for thread in threads):
            done.set()
        try:
            end = journal.end()
        except RemoteError:
            continue
        found = journal.decisions(at, end.decisions, 7)
        at = int(found.seqs[-1]) if len(found) else at
        seen += found.nonces
        some, rated_at = journal.outcomes(rated_at, end.outcomes, 7)
        rated += [each.nonce for each in some]
        if done.is_set() and not len(found) and not some:
            break
    for thread in threads:
        thread.join()
    expected = {nonce(1_000 * each + k) for each in range(writers) for k in range(n)}
    assert len(seen) == len(expected)
    assert set(seen) == expected
    assert len(rated) == len(set(rated))
    assert set(rated) == expected
