"""`python -P -m mlops.consumers`, with a consumer that another package brings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mlops.journal.sql import SqlJournal
from tests.journal.rows import decision, nonce
from tests.waiting import wait_until

_SOURCE = """
from mlops.consumers import Consumed

class Paper:
    start = "beginning"

    def __init__(self, context):
        self._file = open(context.options["path"], "a")

    def consume(self, batch):
        for each in batch.decisions.nonces:
            print(each.hex(), file=self._file, flush=True)
        return Consumed(len(batch))

    def close(self):
        self._file.close()
"""


def _start(url: str, paper: Path, packages: Path) -> subprocess.Popen[str]:
    asked = {
        "deployment": "wine",
        "journal_url": url,
        "consumers": {"paper": {"path": str(paper)}, "nobody's": {}},
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mlops.consumers"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(packages)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()
    return process


def _seen(paper: Path) -> list[bytes]:
    lines = paper.read_text().splitlines() if paper.exists() else []
    return [bytes.fromhex(line) for line in lines if len(line) == 24]


def test_a_killed_one_goes_on_where_it_was(tmp_path: Path) -> None:
    packages, paper = tmp_path / "packages", tmp_path / "paper"
    (packages / "paper-1.0.dist-info").mkdir(parents=True)
    (packages / "paper.py").write_text(_SOURCE)
    (packages / "paper-1.0.dist-info" / "METADATA").write_text("Name: paper\nVersion: 1.0\n")
    entry = "[mlops.consumers]\npaper = paper:Paper\n"
    (packages / "paper-1.0.dist-info" / "entry_points.txt").write_text(entry)
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = SqlJournal(url)
    journal.append([decision(n) for n in range(100)], [])
    killed = _start(url, paper, packages)
    wait_until(lambda: len(_seen(paper)) >= 100, 120)
    journal.append([decision(n) for n in range(100, 150)], [])
    killed.kill()
    killed.communicate()
    # Its holder is gone; a test does not wait until its lease expires.
    before = {each.name: each for each in journal.progress(0)}["paper"]
    journal.append([decision(n) for n in range(150, 200)], [])
    with journal._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE consumers SET until_ms = 0")
    last = _start(url, paper, packages)
    wait_until(lambda: _seen(paper)[-1:] == [nonce(199)], 120)
    # It ends with the process that started it.
    assert last.stdin is not None
    _, said = last.communicate()
    assert last.returncode == 0
    assert "nobody's" in said
    assert [*dict.fromkeys(_seen(paper))] == [nonce(n) for n in range(200)]
    found = {each.name: each for each in journal.progress(0)}
    after = found["paper"]
    # One that cannot be made is seen to be missing.
    assert "nobody's" in found["nobody's"].fault
    assert after.offset.decisions == 200
    assert after.sent >= before.sent + 50
    journal.close()
