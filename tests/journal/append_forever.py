"""Appends outcomes until it is killed, and prints the number of each once it is acknowledged.

python append_forever.py JOURNAL_URL FIRST_NUMBER
"""

from __future__ import annotations

import sys
from concurrent.futures import Future

from mlops.journal.records import StoredOutcome
from mlops.journal.sql import SqlJournal
from mlops.journal.writer import JournalWriter
from tests.journal.rows import decision, outcome

_AT_ONCE = 20


def main(url: str, first: int) -> None:
    writer = JournalWriter(SqlJournal(url), lambda stored: None)
    waiting: list[tuple[int, Future[list[StoredOutcome]]]] = []
    number = first
    while True:
        while len(waiting) < _AT_ONCE:
            writer.add_decision(decision(number))
            waiting.append((number, writer.add_outcomes([outcome(number, reward=float(number))])))
            number += 1
        acknowledged, future = waiting.pop(0)
        future.result()
        print(acknowledged, flush=True)


main(sys.argv[1], int(sys.argv[2]))
