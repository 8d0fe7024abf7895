"""Several processes that append to one journal, killed at any moment.

What was acknowledged is there once, and every reader of the log comes by it once.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import random
import time
from collections import deque
from concurrent.futures import Future
from multiprocessing.connection import Connection

import pytest

from mlops.journal.records import StoredOutcome
from mlops.journal.sql import SqlJournal
from mlops.journal.writer import JournalWriter
from tests.conformance.journals import JOURNALS
from tests.journal.rows import decision, nonce, outcome

_WRITERS, _KILLS, _ENOUGH, _AT_ONCE = 3, 6, 40, 20

# Each writer is forked from a process that has made the imports.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def _append(url: str, first: int, told: Connection) -> None:
    """Append until killed, and say what is durable."""
    writer = JournalWriter(SqlJournal(url), lambda stored: None)
    waiting: deque[tuple[int, Future[list[StoredOutcome]]]] = deque()
    for number in itertools.count(first):
        writer.add_decision(decision(number))
        waiting.append((number, writer.add_outcomes([outcome(number, reward=float(number))])))
        if len(waiting) == _AT_ONCE:
            done, future = waiting.popleft()
            future.result()
            told.send(done)


class _Writer:
    """A process that appends, and what it was told to be durable."""

    def __init__(self, url: str, first: int) -> None:
        self._told, theirs = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(target=_append, args=(url, first, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.acknowledged: list[int] = []

    def read(self, count: int) -> None:
        self.acknowledged += [self._told.recv() for _ in range(count)]

    def kill(self) -> list[int]:
        self._process.kill()
        self._process.join()
        # The last message may have been cut.
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.acknowledged.append(self._told.recv())
        self._told.close()
        self._process.close()
        return self.acknowledged


@pytest.mark.parametrize("kind", JOURNALS)
def test_kills_lose_and_double_nothing(request: pytest.FixtureRequest, kind: str) -> None:
    url = JOURNALS[kind](request)
    moments = random.Random(7)
    # Two of them write the same outcomes, as retries of one sender that reach both do.
    firsts = [0, 0, 1_000_000]
    writers = [_Writer(url, first) for first in firsts]
    acknowledged: set[int] = set()
    for turn in range(_KILLS):
        for writer in writers:
            writer.read(_ENOUGH // 2)
        time.sleep(moments.uniform(0, 0.05))
        victim = turn % _WRITERS
        acknowledged.update(writers[victim].kill())
        firsts[victim] += 100_000
        writers[victim] = _Writer(url, firsts[victim])
    for writer in writers:
        writer.read(_ENOUGH)
        acknowledged.update(writer.kill())
    journal = SqlJournal(url)
    seen = [each.nonce for each in journal.observations()]
    end = journal.end()
    after = 0
    read: list[bytes] = []
    while len(batch := journal.decisions(after, end.decisions, 500)):
        after = int(batch.seqs[-1])
        read += batch.nonces
    journal.close()
    assert len(acknowledged) > _KILLS * _ENOUGH
    assert len(seen) == len(set(seen))
    assert {nonce(number) for number in acknowledged} <= set(seen)
    assert len(read) == len(set(read))
    # An outcome comes in one commit with its decision, or after it.
    assert set(seen) <= set(read)
