"""Decisions that wait on disk while the journal is away."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlops.journal.base import JournalUnavailableError
from mlops.journal.records import Decision
from mlops.journal.spool import Spool


def _decisions(n: int, start: int = 0) -> list[Decision]:
    return [
        Decision(
            nonce=at.to_bytes(12, "big"), time_ms=at, revision=1, arm=at % 2, propensity=0.5,
            n_rows=1, latency_us=900, status=200, protocol="v2", unit=b"\0" * 8,
            features=b'["text"]\n[["a\\nb\xc3\xa4"]]', predictions=[{"p": 1.5}], epoch=3,
        )
        for at in range(start, start + n)
    ]  # fmt: skip


def _all(spool: Spool) -> list[Decision]:
    found: list[Decision] = []
    while spool.deliver(found.extend):
        pass
    return found


def test_what_is_put_is_delivered_once_and_in_order(tmp_path: Path) -> None:
    spool, whole = Spool(tmp_path / "spool"), _decisions(12_000)
    assert spool.put(whole[:5])
    assert spool.put(whole[5:])
    assert spool.waiting == 12_000
    assert _all(spool) == whole
    assert spool.waiting == 0
    assert list((tmp_path / "spool").iterdir()) == []
    assert _all(spool) == []
    assert spool.put(whole[:1])
    assert _all(spool) == whole[:1]


def test_a_journal_that_goes_away_again_gets_them_later(tmp_path: Path) -> None:
    spool, whole = Spool(tmp_path), _decisions(7_000)
    spool.put(whole)
    stored: list[Decision] = []

    def append(decisions: Sequence[Decision]) -> None:
        if stored:
            raise JournalUnavailableError("away")
        stored.extend(decisions)

    assert spool.deliver(append)
    with pytest.raises(JournalUnavailableError):
        spool.deliver(append)
    # Meanwhile more come, in a file of their own.
    assert spool.put(_decisions(3, start=7_000))
    assert spool.waiting == 2_003
    assert [*stored, *_all(spool)] == [*whole, *_decisions(3, start=7_000)]


def test_what_a_process_left_is_delivered_by_the_next(tmp_path: Path) -> None:
    dead, living = Spool(tmp_path), Spool(tmp_path)
    dead.put(_decisions(4))
    living.put(_decisions(2, start=10))
    # It still holds its file.
    assert [each.time_ms for each in _all(living)] == [10, 11]
    os.close(dead._descriptor)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20])  # a crash within the last line
    assert _all(Spool(tmp_path)) == _decisions(3)


def test_a_disk_without_space_keeps_them_in_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=600)
    assert spool.put(_decisions(1))
    assert not spool.put(_decisions(10))
    assert _all(spool) == _decisions(1)
    (tmp_path / "file").touch()
    assert not Spool(tmp_path / "file").put(_decisions(1))


def test_a_line_that_cannot_be_read_is_kept_beside(tmp_path: Path) -> None:
    dead = Spool(tmp_path)
    dead.put(_decisions(3))
    os.close(dead._descriptor)
    (path,) = tmp_path.iterdir()
    first, second, third = path.read_bytes().splitlines(keepends=True)
    longer = second.replace(b"]\n", b",1]\n")  # of another release
    path.write_bytes(first + longer + b"no JSON\n" + third)
    assert _all(Spool(tmp_path)) == [_decisions(3)[0], _decisions(3)[2]]
    (aside,) = tmp_path.iterdir()
    assert aside.read_bytes() == longer + b"no JSON\n"


def test_a_journal_that_is_away_gets_no_copies_of_such_lines(tmp_path: Path) -> None:
    dead, next_one = Spool(tmp_path), Spool(tmp_path)
    dead.put(_decisions(1))
    os.close(dead._descriptor)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"no JSON\n" + path.read_bytes())

    def away(decisions: Sequence[Decision]) -> None:
        raise JournalUnavailableError("away")

    for _ in range(3):
        with pytest.raises(JournalUnavailableError):
            next_one.deliver(away)
    assert _all(next_one) == _decisions(1)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"no JSON\n"]


def test_what_the_journal_never_takes_does_not_stop_the_rest(tmp_path: Path) -> None:
    spool, whole, stored = Spool(tmp_path), _decisions(9), list[Decision]()
    spool.put(whole)

    def append(decisions: Sequence[Decision]) -> None:
        if whole[4] in decisions:
            raise ValueError("no such column")
        stored.extend(decisions)

    while spool.deliver(append):
        pass
    assert stored == whole[:4] + whole[5:]
    assert spool.refused == 1
    (aside,) = tmp_path.iterdir()
    assert aside.suffix == ".refused"
    assert aside.stat().st_mode & 0o777 == 0o600
    assert len(aside.read_bytes().splitlines()) == 1
    assert spool.put(_decisions(1, start=50))
    assert _all(spool) == _decisions(1, start=50)


def test_no_file_is_found_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow, lock = Spool(tmp_path), Spool(tmp_path), fcntl.flock

    def meanwhile(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        assert _all(quick) == []
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    assert slow.put(_decisions(2))
    assert _all(Spool(tmp_path)) == []  # it is still written
    assert _all(slow) == _decisions(2)


def test_it_leaves_space_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    monkeypatch.setattr("mlops.journal.spool.disk_usage", lambda _: (10**12, 0, 10**8))
    assert not spool.put(_decisions(1))
    assert spool.waiting == 0
