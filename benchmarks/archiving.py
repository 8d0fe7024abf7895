"""How long a server's writer waits while old requests are archived.

    python benchmarks/archiving.py [--requests 2000000] [--journal sqlite postgresql]

A journal with an outcome for every second request, of which all but the last go to an archive in a
folder. Meanwhile a writer in another process appends a decision and its outcome every 20 ms, as a
server does, and says how long its commits took; the same without archiving is the first line. Then
feedback comes for archived requests, one at a time, each of which is looked up in the archive.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import large_journal
import numpy as np
from common import machine
from large_journal import write_large_journal

from mlops.journal import archiving
from mlops.journal.sql import SqlJournal

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.journal.rows import decision, outcome
from tests.postgresql import PostgreSQL, find_programs

_EVERY_S = 0.02


def main(requests: int, kinds: list[str]) -> None:
    print(machine())
    large_journal.LABELLED_EVERY = 2
    for kind in kinds:
        with (
            tempfile.TemporaryDirectory(prefix="mlops-archiving-") as folder,
            _journal(kind, Path(folder), requests) as url,
        ):
            idle = _waits(url, lambda: time.sleep(10))
            print(f"{kind}, nothing is archived: {_shown(idle)}", flush=True)
            started = time.monotonic()
            busy = _waits(url, functools.partial(_archive, url, Path(folder)))
            took_s = time.monotonic() - started
            print(f"{kind}, {requests:,} requests in {took_s:.0f} s: {_shown(busy)}")
            first_ms, others = _late(url, Path(folder))
            print(
                f"{kind}, late feedback: the first {first_ms:.0f} ms, then {_shown(others)}",
                flush=True,
            )


def _archive(url: str, folder: Path) -> None:
    def put(file: Path, key: str) -> None:
        (folder / key).parent.mkdir(exist_ok=True)
        shutil.copy(file, folder / key)

    journal = SqlJournal(url)
    while True:
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            now = time.time_ns() // 1_000_000
            found = journal.write_part(now, archiving.ROWS, str(folder), Path(draft))
            if found is None:
                break
            part = archiving.store_files(found.part, found.files, "archive", put)
            journal.note_part(part, found)
        if not journal.remove_rows(part):
            print("  a partition could not be dropped")
    totals = journal.totals()
    moved = sum(part.requests for part in journal.archived_parts())
    print(f"  {moved:,} of {totals['requests']:,} requests are archived", flush=True)
    journal.close()


def _waits(url: str, work: Callable[[], object]) -> list[float]:
    """Return how long each commit of the writer took while something is done, seconds."""
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    taken = context.Queue()
    writer = context.Process(target=_write, args=(url, ready, over, taken), daemon=True)
    writer.start()
    ready.wait()
    work()
    over.set()
    waits: list[float] = taken.get()
    writer.join()
    return waits


def _write(url: str, ready: Event, over: Event, taken: Any) -> None:  # noqa: ANN401 - a queue of that kind of process
    journal = SqlJournal(url)
    chance, waits = np.random.default_rng(), []
    while not over.is_set():
        number = int(chance.integers(1 << 40, 1 << 62))
        started = time.monotonic()
        journal.append([decision(number)], [outcome(number)])
        waits.append(time.monotonic() - started)
        ready.set()
        time.sleep(_EVERY_S)
    journal.close()
    taken.put(waits)


def _late(url: str, folder: Path, count: int = 200) -> tuple[float, list[float]]:
    """Return how long the first late outcome took to store, ms, and the others, seconds."""
    from pyarrow import parquet

    files = sorted((folder / "archive").glob("*-decisions-*.parquet"))
    nonces: list[bytes] = []
    chance = np.random.default_rng(3)
    for file in files[:: max(1, len(files) // 4)]:
        column = parquet.read_table(file, columns=["nonce"]).column("nonce")
        nonces += [column[int(at)].as_py() for at in chance.integers(0, len(column), count // 4)]
    journal, waits = SqlJournal(url), []
    for nonce in chance.permutation(np.array(nonces, dtype=object)).tolist():
        started = time.monotonic()
        journal.append([], [replace(outcome(1), nonce=nonce, row=-1)])
        waits.append(time.monotonic() - started)
    journal.close()
    return waits[0] * 1000, waits[1:]


def _shown(waits: list[float]) -> str:
    ms = np.array(waits) * 1000
    return (
        f"{ms.size:,} commits, median {np.median(ms):.0f} ms, p99 {np.percentile(ms, 99):.0f} ms, "
        f"longest {ms.max():.0f} ms"
    )


@contextlib.contextmanager
def _journal(kind: str, folder: Path, requests: int) -> Iterator[str]:
    if kind == "sqlite":
        yield write_large_journal(folder / "journal.db", requests)
        return
    programs = find_programs()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed here.")
    home = folder / "postgresql"
    home.mkdir()
    folder.chmod(0o755)
    server = PostgreSQL(programs, home)
    server.start()
    try:
        large_journal.write_into_postgresql(server.url, requests)
        yield server.url
    finally:
        server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument(
        "--journal", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"]
    )
    chosen = parser.parse_args()
    main(chosen.requests, chosen.journal)
