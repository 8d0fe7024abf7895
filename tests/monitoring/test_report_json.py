from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import InvalidInputError
from mlops.journal.sql import SqlJournal
from mlops.monitoring.report_json import read_report, report_document, report_json
from tests.monitoring.journals import Stage, fill, numbers


def documents(path: Path, n: int) -> tuple[Any, Any]:
    """Return a report as the server gives it, and as it is after it was read."""
    journal = SqlJournal(f"sqlite:///{path / f'{n}.db'}")
    fill(journal, ["a", "b"], [Stage((0.5, 0.5), n)], numbers([0.0, 1.0]))
    sent = json.loads(report_json(journal, alpha=0.05, baseline="", live=True))
    journal.close()
    assert sent.pop("schema_version") == 1
    return sent, report_document(read_report(sent))


@pytest.mark.parametrize("n", [6, 400])
def test_nothing_is_lost_on_the_way(tmp_path: Path, n: int) -> None:
    """Early, where bounds are infinite and means not known, as late."""
    sent, read = documents(tmp_path, n)
    # Tuples of Python are lists of JSON.
    assert json.loads(json.dumps(read)) == sent
    assert (sent["comparisons"][0]["lower"] is None) is (n == 6)


def test_what_a_later_release_adds_is_left_out(tmp_path: Path) -> None:
    sent, _ = documents(tmp_path, 6)
    again = read_report({**sent, "new": 1, "verdict": {**sent["verdict"], "new": 1}})
    assert again.verdict.decision == sent["verdict"]["decision"]


@pytest.mark.parametrize(
    "change",
    [{"name": 5}, {"arms": 5}, {"verdict": None}, {"comparisons": [{}]}, {"reward_range": [1]}],
)
def test_what_is_no_report(tmp_path: Path, change: dict[str, Any]) -> None:
    sent, _ = documents(tmp_path, 6)
    with pytest.raises(InvalidInputError, match="report cannot be read"):
        read_report({**sent, **change})
    with pytest.raises(InvalidInputError):
        read_report([])
