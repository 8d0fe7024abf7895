"""`mlops report --html`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops.journal.sql import SqlJournal
from mlops.spec.deployment import Revision
from mlops.spec.server import Served, ServerState, write_state
from tests.fixtures_training import Cli
from tests.monitoring.journals import Stage, fill, numbers, spec_of
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


@pytest.mark.parametrize(
    ("guardrails", "code", "said"),
    [
        ("errors = 0.05, refusals = 0.05", 0, "inside the margin of +5 points"),
        ("errors = 0.0005", 13, "not shown yet to keep the margin of +0.05 points"),
        ("latency = 5", 3, "`latency` is no metric"),
        ("errors = -1", 3, "must be positive"),
        ("errors = 'few'", 3, "must be a table of numbers"),
    ],
)
def test_guardrails_of_the_settings(
    cli: Cli, project: Path, capsys: Capture, guardrails: str, code: int, said: str
) -> None:
    (project / "mlops.toml").write_text(f"[report]\nguardrails = {{ {guardrails} }}\n")
    assert cli(project, "report", "--exit-code") == code
    out, err = capsys.readouterr()
    assert said in " ".join((out + err).split())


def test_promote_needs_the_guardrails(
    cli: Cli, project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_REPORT_GUARDRAILS", "errors=0.0005")
    assert cli(project, "promote", "wine") == 13
    assert "Guardrail `errors`" in " ".join(capsys.readouterr().err.split())
