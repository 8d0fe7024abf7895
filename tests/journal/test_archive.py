"""An archived journal beside one that is not: whatever is asked, both give the same answer."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mlops.errors import ConflictError, RemoteError
from mlops.journal import (
    archive_files,
    archive_lookup,
    archiving,
)
from mlops.journal.consumer_records import Offset
from mlops.journal.inserting import table_name
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Records
from tests.journal.archives import ALL, BOTH, PARTITIONS, SQLITE, Pair, append, late, truth
from tests.journal.rows import T0, decision, named, nonce, outcome


@ALL
def test_what_is_read_stays_the_same(pair: Pair) -> None:
    pair.check()
    partitioned = pair.moved._open().partitioned
    whole = [15] if partitioned else [15, 10]
    assert pair.archive(25) == len(whole)
    assert [part.requests for part in pair.moved.archived_parts()] == whole
    # Another process, and the rest; the last request, or the last partition, always stays.
    pair.moved.close()
    pair.moved = pair.reopen()
    assert pair.archive(10_000) == (2 if partitioned else 3)
    there = sum(part.requests for part in pair.moved.archived_parts())
    assert there == (45 if partitioned else 59)
    pair.check()
    assert pair.archive(10_000) == 0
    if partitioned:
        # Their partitions are gone; those of 46 to 60 and after them are there.
        with pair.moved._engine.connect() as connection:
            name = {"name": table_name(connection, "decisions")}
            found = set(connection.execute(text(PARTITIONS), name).scalars())
            assert "decisions_rest" in found
            assert not {"decisions_000000", "decisions_000002"} & found
    more = [decision(n, arm=n % 2) for n in range(60, 100)]
    pair.both(lambda journal: journal.append(more, [outcome(n, arm=n % 2) for n in (61, 2)]))
    pair.check()


@BOTH
def test_late_feedback_meets_the_same_fate(pair: Pair) -> None:
    pair.archive(50)
    for batch in late():
        pair.both(partial(append, batch=batch))
    pair.check()
    # And as it is archived itself.
    pair.archive(10_000)
    pair.check()


@BOTH
def test_a_retry_of_an_archived_request_is_no_new_one(pair: Pair) -> None:
    pair.archive(50)
    again = [decision(n, arm=1 - n % 2) for n in (3, 55, 70)]
    pair.both(lambda journal: journal.append(again, [outcome(3, arm=0)]))
    pair.check()


@SQLITE
def test_voiding_what_is_archived(pair: Pair) -> None:
    def void(journal: SqlJournal, numbers: range) -> int:
        told = [nonce(n) for n in numbers]
        return journal.void(told, time_ms=T0, reason="test traffic", by="me")

    assert pair.both(lambda journal: void(journal, range(3))) > 0
    pair.archive(50)
    assert pair.both(lambda journal: void(journal, range(12))) > 0
    pair.check()
    # It is taken again, and may go to the archive with the next part.
    pair.both(lambda journal: journal.append([], [outcome(n, arm=n % 2) for n in range(12)]))
    pair.archive(10_000)
    pair.check()


@BOTH
def test_a_request_is_found_in_any_row_group(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_files, "_AT_ONCE", 4)
    monkeypatch.setattr(archive_lookup, "_GROUPS", 2)
    monkeypatch.setattr(archive_lookup, "_REQUESTS", 3)
    monkeypatch.setattr(archive_lookup, "_OPEN_FILES", 1)
    pair.archive(50)
    for n in (*range(44, 0, -3), *range(45)):
        some = [outcome(n, arm=n % 2, truth=truth(n), row=-1), named(f"id {n}", reward=1.0)]
        pair.both(partial(append, batch=some))
    pair.check()


@BOTH
def test_a_part_whose_last_offsets_are_of_no_decision(pair: Pair) -> None:
    """PostgreSQL gives numbers also to what is rolled back."""
    pair.archive(30)
    last = pair.moved.archived_parts()[-1]
    with pair.moved._engine.begin() as connection:
        gone = [table_name(connection, name) for name in ("decisions", "archives")]
        connection.execute(text(f"DELETE FROM {gone[0]} WHERE seq <= {last.upto + 3}"))
        longer = f"UPDATE {gone[1]} SET upto = {last.upto + 3} WHERE part = {last.part}"
        connection.execute(text(longer))
    found = pair.moved.decisions(last.upto, 60, 5)
    assert found.seqs.tolist() == [last.upto + 4 + n for n in range(5)]
    assert not len(pair.moved.decisions(last.upto, last.upto + 2, 5))


@SQLITE
def test_a_file_that_was_changed_is_refused(pair: Pair) -> None:
    pair.archive(50)
    for file in pair.store.root.rglob("*-features-*"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.raises(RemoteError, match="not what was archived: its SHA-256 differs"):
        list(pair.moved.joined_rows())


@BOTH
def test_what_is_forgotten_in_the_meantime_does_not_reach_the_archive(
    pair: Pair, tmp_path: Path
) -> None:
    draft = pair.moved.write_part(T0 + 50, 15, str(pair.store.root), tmp_path)
    assert draft is not None
    assert sum(pair.moved.forget_units({bytes(7) + b"\x01"})) > 0
    part = archiving.store_files(draft.part, draft.files, "wine/id", pair.store.put)
    with pytest.raises(ConflictError, match="archiving or pruning"):
        pair.moved.note_part(part, draft)


@SQLITE
def test_features_are_forgotten_there_too(pair: Pair) -> None:
    pair.archive(50)
    pair.both(lambda journal: sum(journal.forget_features(T0 + 20)) >= 0)
    for part in pair.moved.archived_parts():
        if part.first_ms < T0 + 20:
            archiving.forget_features(pair.moved, part, T0 + 20, pair.store.put)
    pair.check()
    doomed = [key for part in pair.moved.archived_parts() for key in part.doomed]
    assert len(doomed) == 2
    manifests = [json.loads(file.read_text()) for file in pair.store.root.rglob("*.json")]
    assert ["features" in each["files"] for each in sorted(manifests, key=_number)][:3] == [
        False, True, True
    ]  # fmt: skip


@BOTH
def test_what_another_process_pruned_is_not_read_from_a_copy(pair: Pair) -> None:
    pair.archive(30)
    there = max(part.upto for part in pair.moved.archived_parts())
    live = {nonce(n) for n in range(there, 45)}
    assert live & {each for each, _ in pair.moved.cells([1], "a")}
    other = pair.reopen()
    assert sum(other.forget_features(T0 + 45)) > 0
    other.close()
    assert not live & {each for each, _ in pair.moved.cells([1], "a")}


@BOTH
def test_a_unit_that_is_forgotten_goes_out_of_copies(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose features are neither the oldest nor the newest; whatever is asked for next."""
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    pair.archive(30)
    there = max(part.upto for part in pair.moved.archived_parts())
    unit = bytes(7) + b"\xee"
    marked = [
        decision(n, unit=unit if n == 102 else None, features=Records([{"a": f"secret {n}"}]))
        for n in range(100, 105)
    ]
    pair.moved.append(marked, [outcome(n, truth=1.0, row=0) for n in range(100, 105)])

    def kept() -> set[bytes]:
        files = [file.read_bytes() for file in copies.rglob("*") if file.is_file()]
        return {name for name in (b"secret 101", b"secret 102") if any(name in f for f in files)}

    def labelled() -> set[Any]:
        rows = (row.features for row in pair.moved.labelled_rows([1]))
        return {features["a"] for features in rows if isinstance(features, dict)}

    assert there
    assert "secret 102" in labelled()
    assert kept() == {b"secret 101", b"secret 102"}
    other = pair.reopen()
    assert sum(other.forget_units({unit})) == 1
    other.close()
    assert "secret 101" in labelled()
    assert "secret 102" not in labelled()
    assert kept() == {b"secret 101"}
    # A reader that asks for none does not keep them either.
    other = pair.reopen()
    assert sum(other.forget_features(T0 + 200)) > 0
    other.close()
    assert list(pair.moved.observations([1]))
    assert kept() == set()


@SQLITE
def test_what_is_forgotten_in_a_part_goes_out_of_copies(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    pair.archive(50)
    assert pair.moved.rows_of([nonce(3)])

    def kept() -> bool:
        return any(b"text 3" in file.read_bytes() for file in copies.rglob("*") if file.is_file())

    assert kept()
    part = pair.moved.archived_parts()[0]
    archiving.forget_features(pair.moved, part, T0 + 50, pair.store.put)
    assert len(pair.moved.decisions(0, 50, 5, features=False))
    assert not kept()


def _number(manifest: dict[str, Any]) -> int:
    return int(manifest["part"])


@SQLITE
def test_consumers_do_not_unpack_everything(pair: Pair) -> None:
    """They ask each second for what is new."""
    pair.archive(50)
    pair.both(lambda journal: journal.append([], [outcome(5, arm=1)]))
    pair.store.fetched.clear()
    end = pair.moved.end()
    last = max(part.last_outcome for part in pair.moved.archived_parts())
    at = Offset(50, last)
    pair.both(lambda journal: journal.outcomes(at.outcomes, end.outcomes, 50))
    pair.both(lambda journal: list(journal.decisions(at.decisions, end.decisions, 50).nonces))
    assert len({key for key in pair.store.fetched if "features" not in key}) <= 6
    assert not any("features" in key for key in pair.store.fetched)
