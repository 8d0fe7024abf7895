"""`mlops journal export` to CSV: what senders wrote is no formula in a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mlops.journal.features import features_of
from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Rows
from mlops.spec.deployment import Revision, to_dict
from mlops.spec.server import Served, ServerState, write_state
from tests.fixtures_training import Cli
from tests.monitoring.journals import START_MS, spec_of
from tests.serving.server import make_launch

TEXTS = ["=1+1", "+49 30", "-5", "-5 %", "@sum(a1)", "\tx", "plain", "a=b"]


def test_texts_of_senders_are_no_formulas(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ".mlops" / "run"
    folder.mkdir(parents=True)
    spec = spec_of(["a"], [1.0], "given", "")
    launch = make_launch(folder, Served(Revision(1, spec), ("/a",)), port=1)
    write_state(ServerState(launch, 1, 1, 2, (), None), folder / "wine.json")
    journal = SqlJournal(launch.journal_url)
    journal.record([RevisionEvent(1, START_MS, "live", to_dict(spec))])
    nonces = [index.to_bytes(12, "big") for index in range(len(TEXTS))]
    decisions = [
        Decision(
            nonce, START_MS + index, 1, 0, 1.0, 1, 900, 200, "mlflow", client_id=text,
            features=features_of(Rows([[text, -2.5]], ("=name", "x")), "all"), predictions=[-1.0],
        )
        for index, (nonce, text) in enumerate(zip(nonces, TEXTS, strict=True))
    ]  # fmt: skip
    told = [
        NewOutcome(nonce, None, 0, START_MS, 1, 0, 1.0, -3.0, text)
        for nonce, text in zip(nonces, TEXTS, strict=True)
    ]
    journal.append(decisions, told)
    journal.close()

    assert cli(tmp_path, "journal", "export", "--out", "x.csv") == 0
    capsys.readouterr()
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    safe = ["'=1+1", "'+49 30", "-5", "'-5 %", "'@sum(a1)", "'\tx", "plain", "a=b"]
    for column in ("client_id", "'=name", "truth"):
        assert [row[column] for row in rows] == safe, column
    # Numbers stay numbers.
    assert {(row["x"], row["prediction"], row["reward"]) for row in rows} == {
        ("-2.5", "-1.0", "-3.0")
    }
