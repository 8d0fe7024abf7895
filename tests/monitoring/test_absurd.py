"""Numbers that no statistic was made for: a report must say something about them all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlops.journal.records import Value
from mlops.journal.sql import SqlJournal
from mlops.monitoring.page import report_page
from mlops.monitoring.report import make_report
from tests.monitoring.journals import Stage, fill

AB = ["a", "b"]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    made = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("predicted", "declared", "n", "every"),
    [
        (1e100, None, 300, 100),
        (1e100, None, 3, 1),
        (-1e200, None, 300, 1),
        (1.7e308, (-1e60, 0.0), 300, 100),
        (5e-324, (-1e60, 0.0), 300, 1),
        (1e-170, None, 300, 1),
    ],
)
def test_the_report_and_its_page_survive(
    journal: SqlJournal,
    predicted: float,
    declared: tuple[float, float] | None,
    n: int,
    every: int,
) -> None:
    drawn = iter(range(10**6))

    def draw(rng: np.random.Generator, arm: int) -> tuple[Value, Value]:
        absurd = arm == 0 and next(drawn) % every == 0
        return (predicted if absurd else float(rng.normal()) * (every > 1)), 0.0

    fill(journal, AB, [Stage([0.5, 0.5], n), Stage([0.9, 0.1], n)], draw, reward_range=declared)
    report = make_report(journal)
    assert report.verdict.decision in ("continue", "promote", "keep", "rollback", "invalid")
    assert report.verdict.reason
    assert "<h1" in report_page(journal)
