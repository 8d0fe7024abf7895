"""`mlops report --html`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.audit import Trail
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.spec.analysis import Analysis
from mlops.spec.deployment import Revision, to_dict
from mlops.spec.server import Served, ServerState, write_state
from tests.fixtures_training import Cli
from tests.monitoring.journals import START_MS, Stage, fill, numbers, spec_of
from tests.serving.server import make_launch

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a deployment whose server is gone; its journal says to promote `new`."""
    folder = tmp_path / ".mlops" / "run"
    folder.mkdir(parents=True)
    spec = spec_of(["old", "new"], [0.5, 0.5], "squared-error", "")
    launch = make_launch(folder, Served(Revision(1, spec), ("/old", "/new")), port=1)
    write_state(ServerState(launch, 1, 1, 2, (), None), folder / "wine.json")
    journal = SqlJournal(launch.journal_url)
    fill(journal, ["old", "new"], [Stage([0.5, 0.5], 2_000)], numbers([0.6, 0]))
    journal.close()
    return tmp_path


def test_a_page_is_written_and_its_path_printed(cli: Cli, project: Path, capsys: Capture) -> None:
    for _ in range(2):  # the second replaces the first
        assert cli(project, "report", "--html", "report.html") == 0
        out, err = capsys.readouterr()
        assert out == "report.html\n"
        assert "promote: `new` is better than `old`" in err
        html = (project / "report.html").read_text(encoding="utf-8")
        assert html.startswith("<!doctype html>")
        assert html.count("</html>") == 1


def test_a_dash_is_standard_output(cli: Cli, project: Path, capsys: Capture) -> None:
    assert cli(project, "report", "--html", "-") == 0
    out = capsys.readouterr().out
    assert out.startswith("<!doctype html>")
    assert out.rstrip().endswith("</html>")


def test_json_names_the_file_and_stays_small(cli: Cli, project: Path, capsys: Capture) -> None:
    assert cli(project, "report", "--json") == 0
    plain = capsys.readouterr().out
    assert cli(project, "report", "--json", "--html", "report.html") == 0
    text = capsys.readouterr().out
    assert json.loads(text) == {**json.loads(plain), "html": "report.html"}


def test_options_of_the_report_are_those_of_the_page(
    cli: Cli, project: Path, capsys: Capture
) -> None:
    options = ["--html", "r.html", "--baseline", "new", "--alpha", "0.01", "--exit-code"]
    assert cli(project, "report", *options) == 10
    html = (project / "r.html").read_text(encoding="utf-8")
    assert "old minus new" in html
    assert "\N{LESS-THAN OR EQUAL TO} 1\N{NO-BREAK SPACE}%" in html


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--html", "no/such/report.html"], 5, "mkdir -p no/such"),
        (["--html", ".mlops"], 3, "is a folder"),
        (["--html", "/dev/full"], 3, "cannot be written"),
        (["--html", "-", "--json"], 2, "both want stdout"),
    ],
)
def test_what_cannot_be_written_is_said(
    cli: Cli, project: Path, capsys: Capture, options: list[str], code: int, said: str
) -> None:
    assert cli(project, "report", *options) == code
    out, err = capsys.readouterr()
    assert said in " ".join((err + out).split())


def freeze(project: Path, analysis: Analysis) -> None:
    """Go live again with an analysis plan."""
    spec = replace(spec_of(["old", "new"], [0.5, 0.5], "squared-error", ""), analysis=analysis)
    journal = SqlJournal(f"sqlite:///{project / '.mlops' / 'run' / 'journal.db'}")
    journal.record([RevisionEvent(1, START_MS, "live", to_dict(spec))])
    journal.close()


@pytest.mark.parametrize(
    ("margin", "code", "said"),
    [
        (0.05, 0, "inside the margin of +5 points"),
        (0.0005, 13, "not shown yet to keep the margin of +0.05 points"),
    ],
)
def test_guardrails_are_those_of_the_revision(
    cli: Cli, project: Path, capsys: Capture, margin: float, code: int, said: str
) -> None:
    freeze(project, Analysis(guardrails=(("errors", margin),)))
    assert cli(project, "report", "--exit-code") == code
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ("guardrails = { errors = 0.05 }", 13, "deployed before that. `mlops deploy --name wine`"),
        ("worth = 0.3", 0, "`worth = 0.3`; this revision was deployed before that."),
        ("adjust = 'age'\nper = 'outcomes'", 0, "`adjust = age` and `per = outcomes`"),
        ("guardrails = { latency = 5 }", 3, "`latency` is not a metric"),
        ("guardrails = { errors = -1 }", 3, "must be positive"),
        ("guardrails = { errors = 'few' }", 3, "must be a table of numbers"),
        ("per = 'users'", 3, "must be outcomes or requests"),
    ],
)
def test_what_the_settings_declare_holds_from_the_next_deployment(
    cli: Cli, project: Path, capsys: Capture, settings: str, code: int, said: str
) -> None:
    (project / "mlops.toml").write_text(f"[report]\n{settings}\n")
    assert cli(project, "report", "--exit-code") == code
    out, err = capsys.readouterr()
    assert said in " ".join((out + err).split())


def test_promote_needs_the_guardrails(
    cli: Cli, project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze(project, Analysis(guardrails=(("errors", 0.0005),)))
    assert cli(project, "promote", "wine") == 13
    assert "Guardrail `errors`" in " ".join(capsys.readouterr().err.split())
    freeze(project, Analysis())
    monkeypatch.setenv("MLOPS_REPORT_GUARDRAILS", "errors=0.0005")
    assert cli(project, "promote", "wine") == 13
    assert "was deployed before that" in " ".join(capsys.readouterr().err.split())
    # Both are alarms in the audit trail, each once.
    assert cli(project, "report") == 0
    alarms = [each for each in entries_of(project) if each["action"] == "alarm"]
    assert [each["after"]["decision"] for each in alarms] == ["withheld"]
    assert alarms[0]["after"]["conditions"] == ["guardrail"]
    assert "Guardrail `errors`" in alarms[0]["evidence"]["reason"]


def entries_of(project: Path) -> list[Mapping[str, Any]]:
    return [each.document for each in Trail(project / ".mlops" / "audit" / "wine.jsonl").entries()]


def test_worth_is_that_of_the_revision_or_of_one_look(
    cli: Cli, project: Path, capsys: Capture
) -> None:
    freeze(project, Analysis(worth=50.0))
    assert cli(project, "report", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["analysis"]["worth"] == 50.0
    assert document["comparisons"][0]["conclusion"] == "better"
    assert cli(project, "report", "--worth", "0", "--json") == 3
