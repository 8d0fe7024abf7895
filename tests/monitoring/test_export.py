"""The joined table of a journal, recomputed from what was stored."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.export import Table, export_table
from mlops.protocols.base import Rows, Tensor
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion
from tests.journal.rows import T0, decision, nonce, outcome

_SPEC = DeploymentSpec(
    "wine",
    tuple(Arm(n, ModelVersion(f"wine/{i}", f"wine/{i}", ""), 0.5) for i, n in enumerate("ab")),
    reward="absolute-error",
)


@pytest.fixture
def journal(tmp_path: Path) -> SqlJournal:
    journal = SqlJournal(f"sqlite:///{tmp_path / 'wine.db'}")
    journal.record([RevisionEvent(1, T0, "live", to_dict(_SPEC))])
    return journal


def _table(journal: SqlJournal) -> Table:
    return export_table(journal.joined_rows, journal.revision_events(), b"k" * 32)


def test_one_line_for_each_row_of_a_request(journal: SqlJournal) -> None:
    columns = Rows([[1, 2.5, "y"], [2.5, None, ["z"]]], ("x", "arm", "note"))
    journal.append(
        [
            decision(1, n_rows=2, predictions=[5.0, 7.0], features=columns, unit=b"u" * 8),
            decision(2, arm=1, features=Tensor([[1.0, 2.0]]), predictions=["red"]),
            decision(3, status=500, predictions=None),
        ],
        [
            outcome(1, row=1, reward=None, truth=4.0),
            outcome(2, reward=0.25, arm=1),
            outcome(9, arm=1, reward=3.0),
        ],
    )
    table = _table(journal)
    lines = list(table.lines())
    assert table.count == len(lines) == 5
    assert [(line["row"], line["arm"], line["reward"]) for line in lines] == [
        (0, "a", None),
        (1, "a", -3.0),
        (0, "b", 0.25),
        (0, "a", None),
        (None, "b", 3.0),
    ]
    assert {name: table.columns[name] for name in ("x", "feature_arm", "note", "prediction")} == {
        "x": "number",
        "feature_arm": "number",
        "note": "json",
        "prediction": "json",
    }
    assert lines[1]["x"] == 2.5
    assert (lines[0]["note"], lines[1]["note"]) == ('"y"', '["z"]')
    assert (lines[0]["prediction"], lines[2]["prediction"]) == ("5.0", '"red"')
    assert (lines[2]["feature_0"], lines[2]["feature_1"]) == (1.0, 2.0)
    assert (lines[3]["status"], lines[3]["prediction"]) == (500, None)
    assert (lines[4]["request_id"], lines[4]["nonce"]) == (None, nonce(9).hex())
    assert lines[0]["unit"] == (b"u" * 8).hex()


def test_memory_does_not_grow_with_the_journal(journal: SqlJournal) -> None:
    def peak(first: int, count: int) -> int:
        row = Rows([[1.0]], ("x",))
        journal.append([decision(n, features=row) for n in range(first, first + count)], [])
        tracemalloc.start()
        table = _table(journal)
        assert sum(1 for _ in table.lines()) == first + count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small = peak(0, 4_000)
    assert peak(4_000, 12_000) < 1.5 * small
