"""What the journal costs on the path of a request, in its writer, and for its readers.

    python benchmarks/journal.py [--decisions 200000]
    python benchmarks/journal.py --scale 20000000 [--folder /tmp]

The second writes a journal of that many decisions, a quarter of them with an outcome (180 bytes a
decision), and says what it costs to look at it, each in a process of its own. Times are CPU seconds
of one core, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from large_journal import write_large_journal

from mlops.journal.features import features_of
from mlops.journal.records import Decision
from mlops.journal.sql import SqlJournal
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import Records
from mlops.spec.request_id import fresh_nonce

_NAMES = [f"column {number}" for number in range(11)]
_PER_COMMIT, _PER_READ, _TURNS = 2_000, 10_000, 20_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--decisions", type=int, default=200_000)
    parser.add_argument("--scale", type=int, help="decisions of a large journal")
    parser.add_argument("--folder", help="where it is written; needs 180 bytes for each")
    options = parser.parse_args()
    n = options.decisions
    if options.scale:
        _look_at_many(options.scale, options.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        journal = SqlJournal(f"sqlite:///{Path(folder) / 'journal.db'}")
        _request_path(journal)
        _write(journal, n)
        _read(journal, columns=False)
        _read(journal, columns=True)
        journal.close()


_LOOKS = {
    "status": "print(journal.totals(), journal.size_bytes())",
    "traffic of every arm": "print(len(journal.traffic()))",
    "prune --dry-run": "print(journal.count_features(0))",
    "report, the first": "print(make_report(journal).verdict.reason)",
    "report, a later one": "print(make_report(journal).verdict.reason)",
}
_LOOK = """
import resource, sys, time
from mlops.journal.sql import SqlJournal
from mlops.monitoring.report import make_report
started, wall = time.process_time(), time.monotonic()
journal = SqlJournal(sys.argv[1])
WHAT
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
spent, passed = time.process_time() - started, time.monotonic() - wall
print(f"{spent:.1f} s of processor time, {passed:.1f} s in all, {peak:,.0f} MiB at most")
"""


def _look_at_many(n: int, folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = Path(place) / "journal.db"
        started = time.process_time()
        url = write_large_journal(file, n)
        spent = time.process_time() - started
        print(f"written: {n:,} decisions, {file.stat().st_size / 1e9:.1f} GB, {spent:.0f} s")
        for name, what in _LOOKS.items():
            command = [sys.executable, "-c", _LOOK.replace("WHAT", what), url]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{name}: {done.stdout.splitlines()[-1]}", flush=True)


def _decision(features: bytes | None) -> Decision:
    now_ms = time.time_ns() // 1_000_000
    return Decision(
        fresh_nonce(), now_ms, 1, 0, 0.5, 1, 100, 200, "mlflow", None, None, features, [5.5]
    )


def _request_path(journal: SqlJournal) -> None:
    record = {name: index + 0.5 for index, name in enumerate(_NAMES)}
    payload = Records([record])
    started = time.thread_time()
    for _ in range(_TURNS):
        features = features_of(payload, "all")
    kept = time.thread_time() - started
    writer = JournalWriter(journal, lambda stored: None)
    started = time.thread_time()
    for _ in range(_TURNS):
        writer.add_decision(_decision(features))
    added = time.thread_time() - started
    writer.close()
    print(f"features of 11 columns as bytes: {kept / _TURNS * 1e6:.1f} us a request")
    print(f"decision made and queued: {added / _TURNS * 1e6:.1f} us a request")


def _write(journal: SqlJournal, n: int) -> None:
    features = features_of(Records([dict.fromkeys(_NAMES, 7.25)]), "all")
    spent = 0.0
    for _ in range(0, n, _PER_COMMIT):
        batch = [_decision(features) for _ in range(_PER_COMMIT)]
        started = time.process_time()
        journal.append(batch, [])
        spent += time.process_time() - started
    print(f"appended: {n:,} decisions, {spent / n * 1e6:.1f} us each, {n / spent:,.0f} a second")


def _read(journal: SqlJournal, *, columns: bool) -> None:
    end, after, count, total = journal.end().decisions, 0, 0, 0.0
    started = time.process_time()
    while len(batch := journal.decisions(after, end, _PER_READ)):
        after = int(batch.seqs[-1])
        count += len(batch)
        if columns:
            tables = batch.features()
            total += sum(
                float(table.numbers(name).sum()) for table in tables for name in table.names or ()
            )
    spent = time.process_time() - started
    what = "with 11 columns of features as arrays" if columns else "without features"
    print(f"read {what}: {count:,} decisions, {count / spent:,.0f} a second")


if __name__ == "__main__":
    main()
