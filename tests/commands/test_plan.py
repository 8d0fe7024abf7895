"""`mlops plan`, from numbers and from journals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.journal.sql import SqlJournal
from mlops.spec.deployment import Revision, to_dict
from mlops.spec.server import Served, ServerState, write_state
from tests.commands.schemas import fits
from tests.fixtures_training import Cli
from tests.monitoring.journals import Stage, fill, labels, spec_of
from tests.monitoring.situations import DAY_MS, Shop
from tests.serving.server import make_launch

Capture = pytest.CaptureFixture[str]
NUMBERS = ("--rate", "0.05", "--lift", "0.01", "--requests-per-day", "2000")


def planned(cli: Cli, folder: Path, capsys: Capture, *words: str) -> dict[str, Any]:
    code = cli(folder, "plan", *words, "--json")
    out = capsys.readouterr().out
    assert code == 0, out
    document: dict[str, Any] = json.loads(out)
    fits("plan", document)
    return document


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose deployments have left nothing but their journals."""
    (tmp_path / ".mlops" / "run").mkdir(parents=True)
    return tmp_path


def journal_of(project: Path, name: str) -> SqlJournal:
    folder = project / ".mlops" / "run"
    launch = make_launch(
        folder, Served(Revision(1, spec_of(["a", "b"], [0.5, 0.5], "", "")), ("/a", "/b")), port=1
    )
    write_state(ServerState(launch, 1, 1, 2, (), None), folder / f"{name}.json")
    return SqlJournal(launch.journal_url)


def test_numbers_alone(cli: Cli, project: Path, capsys: Capture) -> None:
    found = planned(cli, project, capsys, *NUMBERS)
    assert [(d["kind"], d["horizon"]) for d in found["designs"]] == [
        ("requests", False), ("requests", True), ("pairs", False), ("pairs", True)
    ]  # fmt: skip
    assert found["designs"][1]["observations"] == pytest.approx(17_245, rel=0.01)
    assert found["designs"][1]["days"] == pytest.approx(8.62, rel=0.01)
    assert not found["hopeless"]


def test_the_next_step_declares_the_end(cli: Cli, project: Path, capsys: Capture) -> None:
    assert cli(project, "plan", *NUMBERS) == 0
    assert "deploy --ab REF REF --horizon 17245" in capsys.readouterr().out
    assert cli(project, "plan", *NUMBERS, "--days", "10") == 0
    out = capsys.readouterr().out
    assert "possible: `mlops deploy --horizon 17245`" in out


def test_a_verdict_that_is_shared_by_pairs_has_half_of_alpha(
    cli: Cli, project: Path, capsys: Capture
) -> None:
    found = {}
    for paired in (False, True):
        journal = journal_of(project, f"shop-{paired}")
        spec = replace(spec_of(["a", "b"], [0.5, 0.5], "exact", ""), paired=paired)
        fill(journal, ("a", "b"), [Stage((0.5, 0.5), 500)], labels((0.9, 0.9)), reward="exact")
        event = journal.revision_events()[0]
        journal.record([replace(event, revision=1, event="live", spec=to_dict(spec))])
        journal.close()
        found[paired] = planned(cli, project, capsys, f"shop-{paired}", "--lift", "0.05")
    assert [found[paired]["goal"]["alpha"] for paired in (False, True)] == [0.05, 0.025]
    assert any("half of alpha" in note for note in found[True]["notes"])


def test_a_table_fits_eighty_columns(
    cli: Cli, project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ("--relative", "--requests-per-unit", "4", "--unit-correlation", "0.3")
    assert cli(project, "plan", *NUMBERS, *words, "--split", "90/10") == 0
    text = capsys.readouterr().out
    table = [line for line in text.splitlines() if line.startswith(("unit", "requests", "pairs"))]
    assert len(table) == 7
    assert max(map(len, table)) <= 80
    assert "Hopeless in 28 days: without a horizon a test of requests takes 59 years." in text
    assert "Equal shares need 15,890,413" in text
    assert "mlops deploy --split 50/50" in text
    assert "mlops report --paired" in text
    assert "next:" not in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--rate", "0.05"), 2, "Which lift"),
        (("--rate", "0.05", "--sd", "1", "--lift", "1"), 2, "cannot be combined with `--sd`"),
        (("--rate", "0.9", "--lift", "0.2"), 3, "cannot rise by 0.2"),
        (("--sd", "2", "--lift", "0.1", "--relative"), 3, "other than 0"),
        (("--rate", "0.1", "--lift", "0.1", "--split", "90/x"), 2, "not a split"),
        (("--rate", "0.1", "--lift", "0.1", "--split", "50/50", "--arms", "3"), 2, "`--arms`"),
        (("nobody", "--lift", "0.1"), 5, "deployed"),
    ],
)
def test_what_cannot_be_planned_is_said(
    cli: Cli, project: Path, capsys: Capture, words: tuple[str, ...], code: int, said: str
) -> None:
    assert cli(project, "plan", *words) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_a_journal_knows(cli: Cli, project: Path, capsys: Capture) -> None:
    journal = journal_of(project, "wine")
    stage = Stage((0.8, 0.2), 4000, hours=48, rated=0.5)
    fill(journal, ("a", "b"), [stage], labels((0.9, 0.9)), reward="exact")
    journal.close()
    found = planned(cli, project, capsys, "wine", "--lift", "0.02")
    basis = found["basis"]
    assert basis["mean"] == pytest.approx(0.9, abs=0.03)
    assert basis["per_day"] == pytest.approx(2000, rel=0.01)
    assert basis["answered"] == pytest.approx(0.5, abs=0.03)
    assert basis["shares"] == [0.8, 0.2]
    assert (basis["kind"], basis["binary"], basis["reward_range"]) == ("requests", True, [0.0, 1.0])
    assert any("correlated by 0.8" in note for note in found["notes"])
    told = planned(
        cli, project, capsys, "wine", "--lift", "0.02",
        "--requests-per-day", "100", "--split", "50/50", "--pair-correlation", "0.5",
    )  # fmt: skip
    assert told["basis"]["per_day"] == 100
    assert told["basis"]["shares"] == [0.5, 0.5]
    assert told["notes"] == []
    assert told["designs"][0]["observations"] < found["designs"][0]["observations"]


def test_a_sticky_test_counts_people(cli: Cli, project: Path, capsys: Capture) -> None:
    journal = journal_of(project, "shop")
    shop = Shop(journal, np.random.default_rng(0), sticky=True)
    shop.live(0.5, 0.5)
    tastes = shop.rng.normal(0, 1, 1000)
    for unit, arm in enumerate(shop.draw(1000).tolist()):
        for visit in range(4):
            time_ms = shop.now_ms + visit * DAY_MS + unit
            nonce = shop.ask(arm, time_ms, unit=unit)
            shop.tell(nonce, arm, time_ms + 1, tastes[unit] + shop.rng.normal(0, 2))
    shop.flush()
    journal.close()
    found = planned(cli, project, capsys, "shop", "--lift", "0.3")
    basis = found["basis"]
    # Between units 1, within 4 / 4.
    assert basis["variance"] == pytest.approx(2.0, rel=0.15)
    assert (basis["kind"], basis["visits"], basis["pair_correlation"]) == ("units", 4.0, None)
    assert [d["kind"] for d in found["designs"]] == ["units", "units"]
    told = planned(cli, project, capsys, "shop", "--lift", "0.3", "--requests-per-day", "400")
    assert told["basis"]["per_day"] == 100


def test_a_journal_without_rewards_says_what_is_needed(
    cli: Cli, project: Path, capsys: Capture
) -> None:
    journal = journal_of(project, "wine")
    fill(journal, ("a", "b"), [Stage((0.5, 0.5), 50, rated=0.0)], labels((0.9, 0.9)))
    journal.close()
    assert cli(project, "plan", "wine", "--lift", "0.1") == 3
    assert "`--rate 0.05`" in " ".join(capsys.readouterr().err.split())
