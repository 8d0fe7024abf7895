"""A journal read with closed parts equals the same journal read from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mlops.journal.records import Decision, NewOutcome, StoredOutcome
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import gather
from mlops.monitoring.report import make_report
from mlops.spec.attribution import LEFT_OUT, Attribution
from tests.monitoring.journals import START_MS
from tests.monitoring.test_columns import compare, write

_NOW_MS = START_MS + 8_640_000_000
_RULES = [
    Attribution(),
    Attribution(repeated="last"),
    Attribution(repeated="sum", missing=LEFT_OUT),
]


class Watched(SqlJournal):
    """A journal that somebody looks at after each batch, so that parts close as it grows."""

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        found = super().append(decisions, outcomes)
        look(self)
        return found


def look(journal: SqlJournal) -> None:
    journal.traffic()
    list(journal.request_columns([1]))
    list(journal.outcome_columns([1]))


def _check(parts: SqlJournal, url: str) -> None:
    tables = SqlJournal(url)
    assert parts.traffic() == tables.traffic()
    compare(gather(parts, now_ms=_NOW_MS), gather(tables, now_ms=_NOW_MS))
    whole = {"whole": True, "baseline": "b", "now_ms": _NOW_MS}
    compare(gather(parts, **whole), gather(tables, **whole))  # type: ignore[arg-type]  # as named
    assert repr(make_report(parts, now_ms=_NOW_MS)) == repr(make_report(tables, now_ms=_NOW_MS))
    tables.close()


def _files(folder: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mtime_ns for each in folder.glob("journal.db-parts/*")}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_it_is_the_same(tmp_path: Path, seed: int) -> None:
    """Outcomes before their decisions, decisions that never come, corrections, voids."""
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    reward = ("squared-error", "exact", "absolute-error", "given")[seed % 4]
    journal = Watched(url, part_rows=29 + 31 * seed)
    write(journal, seed, reward=reward, rules=_RULES[seed % 3], bounds=seed % 5 == 0)
    before = _files(tmp_path)
    assert {name.split("-")[0] for name in before} == {"decisions", "outcomes"}
    _check(journal, url)
    # What is closed is never written again, though outcomes were voided meanwhile.
    after = _files(tmp_path)
    assert {name: after[name] for name in before} == before
    journal.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'journal.db'}"


def test_sticky_units_count_once(url: str) -> None:
    journal = Watched(url, part_rows=60)
    write(journal, 1, reward="given", rules=Attribution(), bounds=False)
    nonces = [bytes(11) + bytes([number]) for number in range(1, 40)]
    journal.append(
        [
            Decision(nonce, START_MS, 3, 0, 0.5, 1, 1, 200, "mlflow", unit=b"somebody")
            for nonce in nonces
        ],
        [],
    )
    _check(journal, url)
    journal.close()


def test_parts_of_another_journal_are_written_again(tmp_path: Path, url: str) -> None:
    """As after a restore: other rows stand where these stood."""
    journal = SqlJournal(url, part_rows=50)
    write(journal, 2, reward="given", rules=Attribution(), bounds=False)
    look(journal)
    journal.close()
    for file in tmp_path.glob("journal.db*"):
        if file.is_file():
            file.unlink()
    journal = SqlJournal(url, part_rows=50)
    write(journal, 3, reward="given", rules=Attribution(), bounds=False)
    _check(journal, url)
    journal.close()


def test_who_cannot_write_reads_the_tables(tmp_path: Path, url: str) -> None:
    (tmp_path / "journal.db-parts").write_bytes(b"no folder")
    journal = SqlJournal(url, part_rows=50)
    write(journal, 2, reward="given", rules=Attribution(), bounds=False)
    _check(journal, url)
    journal.close()
