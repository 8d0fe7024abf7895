"""On a disk that became read-only whatever only looks goes on, and the rest says so in a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from mlops.journal.sql import SqlJournal
from tests.faults.mounts import read_only
from tests.fixtures_deployment import Shop
from tests.requirements import require

_LOOK: tuple[tuple[str, ...], ...] = (
    ("status",), ("report",), ("history",), ("logs",), ("journal", "void", "--list"),
)  # fmt: skip
_CHANGE: tuple[tuple[str, ...], ...] = (
    ("deploy", "--model", "modelA"),
    ("train", "-P", "alpha=0.5"),
)
_RUN = """
import contextlib, io, json, sys
from mlops.__main__ import run
from mlops.journal.sql import SqlJournal
found = []
for words in json.loads(sys.argv[1]):
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = run(words)
    found.append([code, err.getvalue()])
closed = SqlJournal(sys.argv[2]).totals()
print(json.dumps([found, closed]))
"""


def test_looking_goes_on_and_changing_says_why(shop: Shop, tmp_path: Path) -> None:
    # One that is not open has no log beside it.
    closed = f"sqlite:///{tmp_path / 'closed #1.db'}"
    SqlJournal(closed).close()
    words = json.dumps([*_LOOK, ("doctor",), *_CHANGE])
    command = read_only([shop.folder, tmp_path], [sys.executable, "-c", _RUN, words, closed])
    require("read-only mount", command, "no folder can be made read-only here")
    assert command is not None
    done = subprocess.run(command, cwd=shop.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, totals = json.loads(done.stdout)
    codes = {words[0]: code for words, (code, _) in zip(_LOOK, found, strict=False)}
    assert set(codes.values()) == {0}, found
    doctor, *changes = found[len(_LOOK) :]
    assert doctor[0] == 1, doctor
    for code, err in changes:
        assert code == 3, err
        assert "read-only file system" in err
    assert "Traceback" not in str(found)
    assert totals == {"requests": 0, "outcomes": 0}
