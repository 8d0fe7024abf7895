"""A trail on disk: each change once, no edit unseen, one chain for all writers."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlops.audit import Event, State, Trail
from mlops.audit.canonical import canonical
from mlops.audit.entries import digest
from mlops.audit.verifying import Head, Verification, verify
from mlops.errors import InvalidInputError
from mlops.settings.actor import Actor

_ANN = Actor("ann", "box")
_PLACE = "box:/wine"
_N = 6


def event(number: int) -> Event:
    return Event(
        "deploy",
        f"revision {number}",
        1_700_000_000_000 + number,
        {"user": "ann"},
        id=f"revision/{number}/live",
        before={"revision": number - 1},
        after={"revision": number, "weight": 0.1},
        evidence={"reason": "größer ✓"},
    )


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    made = Trail(tmp_path / "audit" / "wine.jsonl")
    made.append([event(number) for number in range(1, _N + 1)], _ANN)
    return made


def head_of(trail: Trail, seq: int = 0) -> Head:
    entry = trail.entries()[seq - 1]
    return Head(entry.document["trail"], _PLACE, entry.seq, entry.hash, "MLflow")


def check(trail: Trail, *heads: Head) -> Verification:
    return verify("wine", trail.lines(), heads, _PLACE)


def test_a_whole_trail(trail: Trail) -> None:
    found = check(trail, head_of(trail))
    assert (found.result, found.entries, found.anchored) == ("whole", _N, _N)
    assert not found.faults
    assert not found.notes
    assert stat.S_IMODE(trail.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(trail.path.parent.stat().st_mode) == 0o700


def test_each_event_once_and_each_state_when_it_changes(trail: Trail) -> None:
    assert trail.append([event(1), event(2)], _ANN) == []
    key = {"fingerprint": "a", "share": 1.0}
    (first,) = trail.append([State("key", "the key", "key", key)], _ANN)
    assert (first.document["before"], first.document["after"]) == (None, key)
    assert trail.append([State("key", "the key", "key", key)], _ANN) == []
    other = {"fingerprint": "b", "share": 1.0}
    (second,) = trail.append([State("key", "the key", "key", other)], _ANN)
    assert (second.document["before"], second.document["by"]["user"]) == (key, "ann")
    # Back again is a change, too.
    assert len(trail.append([State("key", "the key", "key", key)], _ANN)) == 1


# Every byte of the first lines, and any byte to take its place.
@given(st.integers(0, 2_000), st.integers(0, 255))
@example(0, ord("["))
@example(9, ord("}"))
def test_no_byte_can_be_changed(at: int, byte: int) -> None:
    data = bytearray(_written())
    at %= len(data)
    changed = data[at] != byte
    data[at] = byte
    lines = bytes(data).split(b"\n")
    found = verify("wine", lines, [_HEAD[0]], _PLACE)
    assert (found.result == "damaged") is changed
    if changed:
        (fault,) = found.faults
        assert fault.seq == _written()[:at].count(b"\n") + 1
        assert found.entries == fault.seq - 1


@given(st.data())
def test_no_line_can_be_removed_doubled_or_moved(data: st.DataObject) -> None:
    lines = _written().split(b"\n")[:-1]
    order = data.draw(st.lists(st.integers(0, _N - 1), min_size=1, max_size=_N + 2))
    found = verify("wine", [*(lines[each] for each in order), b""], [_HEAD[0]], _PLACE)
    assert (found.result == "whole") is (order == list(range(_N)))


@given(st.integers(0, 3_000))
def test_no_end_can_be_cut_off(kept: int) -> None:
    data = _written()
    kept %= len(data)
    found = verify("wine", data[:kept].split(b"\n"), [_HEAD[0]], _PLACE)
    assert found.result == "damaged"
    assert found.faults[0].seq == (data[:kept].count(b"\n") + 1 if kept else 0)


_HEAD: list[Head] = []
_DATA: list[bytes] = []


def _written() -> bytes:
    """A trail, made once: hypothesis runs each test a hundred times."""
    if not _DATA:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            made = Trail(Path(folder) / "wine.jsonl")
            made.append([event(number) for number in range(1, _N + 1)], _ANN)
            _HEAD.append(head_of(made))
            _DATA.append(made.path.read_bytes())
    return _DATA[0]


def test_a_chain_written_again_is_told_by_mlflow(trail: Trail) -> None:
    heads = [head_of(trail, 2), head_of(trail)]
    name = str(trail.entries()[0].document["trail"])
    trail.path.unlink()
    trail.append([event(number) for number in range(1, _N + 1)], Actor("eve", "box"))
    # It is a chain, of another id; and with the old id it has other hashes.
    found = check(trail, *heads)
    assert found.result == "damaged"
    assert (
        found.faults[0].message
        == f"MLflow knows a trail {name} of 2 entries, which is not here any more"
    )
    own = str(trail.entries()[0].document["trail"])
    assert verify("wine", trail.lines(), None).result == "unknown"
    moved = [Head(own, h.place, h.seq, h.hash, h.where) for h in heads]
    found = check(trail, *moved)
    assert [fault.seq for fault in found.faults] == [2, _N]
    assert "rewritten" in found.faults[0].message


def test_what_another_project_wrote_is_not_missed_here(trail: Trail) -> None:
    other = Head("elsewhere", "box:/beer", 40, "0" * 64, "MLflow")
    assert check(trail, head_of(trail), other).result == "whole"
    # Nothing of this one is in MLflow: then it cannot be told.
    assert check(trail, other).result == "unknown"


def test_newer_than_mlflow(trail: Trail) -> None:
    found = check(trail, head_of(trail, 4))
    assert (found.result, found.anchored) == ("whole", 4)
    assert found.notes[0].startswith("2 entries are newer")


def test_a_torn_line_is_cut_off_and_said(trail: Trail) -> None:
    whole = trail.path.read_bytes()
    with trail.path.open("ab") as file:
        file.write(b'{"entry":{"action":"depl')
    assert check(trail).faults[0].message == "its line is cut off"
    repair, new = trail.append([event(9)], _ANN)
    assert (repair.action, repair.document["evidence"]["bytes"]) == ("repair", 24)
    assert new.id == "revision/9/live"
    assert trail.path.read_bytes().startswith(whole)
    assert check(trail, head_of(trail)).result == "whole"


def test_nothing_is_added_to_a_damaged_trail(trail: Trail) -> None:
    data = trail.path.read_bytes().replace(b"revision 3", b"revision 8")
    trail.path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="in entry 3"):
        trail.append([event(9)], _ANN)
    assert trail.path.read_bytes() == data


@pytest.mark.parametrize(
    "changes",
    [
        *({name: ...} for name in ("id", "action", "subject", "time", "trail", "by", "evidence")),
        {"id": 5}, {"by": ["ann"]}, {"by": {"user": 7}}, {"evidence": [1]}, {"seq": True},
        {"time": None}, {"action": {}},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_says_something_else_is_damage(trail: Trail, changes: dict[str, Any]) -> None:
    """With a right hash: who can write the file could stop every command by it."""
    (entry,) = Trail(trail.path.with_name("other.jsonl")).append([event(1)], _ANN)
    told = {**entry.document, **changes}
    body = canonical({name: value for name, value in told.items() if value is not ...}).encode()
    line = b'{"entry":' + body + b',"hash":"' + digest(body).encode() + b'"}'
    trail.path.write_bytes(line + b"\n")
    found = check(trail)
    assert (found.result, found.faults[0].seq, found.entries) == ("damaged", 1, 0)
    with pytest.raises(InvalidInputError, match="in entry 1"):
        trail.append([event(9)], _ANN)


def test_a_disk_that_is_full_leaves_no_half_of_an_entry(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trail.path.read_bytes()
    write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) < 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:200])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        trail.append([event(9)], _ANN)
    assert trail.path.read_bytes() == before
    monkeypatch.undo()
    assert trail.append([event(9)], _ANN)[0].seq == _N + 1


_WRITER = """
import sys
from pathlib import Path
from mlops.audit import Event, Trail
from mlops.settings.actor import Actor
trail, me = Trail(Path(sys.argv[1])), sys.argv[2]
for number in range(40):
    both = Event("deploy", "x", 0, {}, id=f"both/{number}")
    trail.append([both, Event("own", me, 0, {}, id=f"{me}/{number}")], Actor(me, "box"))
"""


def test_two_at_once_write_one_chain(trail: Trail) -> None:
    names = ("a", "b")
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(trail.path), name]) for name in names
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert check(trail, head_of(trail)).result == "whole"
    ids = [entry.id for entry in trail.entries()]
    assert len(ids) == len(set(ids)) == _N + 3 * 40
