"""The warning of a journal that grows."""

from __future__ import annotations

import pytest

from mlops.journal.room import too_large
from mlops.serving.journal_size import JournalSize
from tests.fakes import FakeJournal


@pytest.mark.parametrize(
    ("size", "max_mb", "told"),
    [(1_000_000, 1, False), (1_000_001, 1, True), (10**12, 0, False), (0, 1, False)],
)
def test_the_cap(size: int, max_mb: int, told: bool) -> None:
    assert bool(too_large(size, max_mb, "wine")) is told


def test_it_is_said_once_each_time(caplog: pytest.LogCaptureFixture) -> None:
    journal = FakeJournal()
    watched = JournalSize(journal.size_bytes, 1, "wine")
    for size in (0, 2_000_000, 3_000_000, 10, 2_000_000):
        journal.size = size
        watched.look()
        assert bool(watched.warning) is (size > 1_000_000)
    assert len(caplog.records) == 2
    assert "2.0 MB" in caplog.messages[0]
