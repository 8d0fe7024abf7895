"""A writer with a journal in memory, whose turns a test decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeAlias

import pytest

from mlops.journal.records import WHOLE_REQUEST, ShadowDecision, StoredOutcome
from mlops.journal.writer import JournalWriter
from tests.fakes import FakeJournal
from tests.journal.rows import T0, nonce, outcome
from tests.waiting import wait_until

Answer: TypeAlias = "Future[list[StoredOutcome]]"
CHECKOUT = Path(__file__).parents[2]
SHADOW = ShadowDecision(nonce(1), 1, 0, T0, 100, 200, [1.0])


class House:
    """A writer in front of a fake journal."""

    def __init__(self, max_pending: int = 100, max_bytes: int = 10_000) -> None:
        self.journal = FakeJournal()
        self.counted: list[StoredOutcome] = []
        self.writer = JournalWriter(
            self.journal, self.count, max_pending=max_pending, max_bytes=max_bytes
        )

    def count(self, stored: Sequence[StoredOutcome]) -> None:
        self.counted += stored

    def hold(self) -> None:
        """Stop the thread in the middle of a commit of one outcome, number 0."""
        self.journal.gate.clear()
        self.journal.entered.clear()
        self.writer.add_outcomes([outcome(0)])
        assert self.journal.entered.wait(60)


def store(writer: JournalWriter, number: int, row: int = WHOLE_REQUEST) -> StoredOutcome:
    """Send an outcome as a patient client does: again, until it is taken."""
    answers: list[StoredOutcome] = []

    def send() -> bool:
        future = writer.add_outcomes([outcome(number, row=row)])
        if future.exception(60) is None:
            answers.extend(future.result())
        return bool(answers)

    wait_until(send)
    return answers[0]


@pytest.fixture
def house() -> Iterator[House]:
    built = House()
    yield built
    built.journal.gate.set()
    built.writer.close()
