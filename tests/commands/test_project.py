from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.schemas import fits
from tests.fixtures_training import Cli
from tests.training.projects import write_project

Capture = pytest.CaptureFixture[str]


def test_a_sound_project_says_what_it_can_run(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    write_project(tmp_path, "")
    assert cli(tmp_path, "project", "validate") == 0
    out = capsys.readouterr().out
    assert "tiny can run: 2 entry points, main, other" in out
    assert "next: mlops train\nnext: mlops project show\n" in out
    # From another folder the advice names the project, or it would fail there.
    assert cli(tmp_path.parent, "project", "validate", f"./{tmp_path.name}") == 0
    assert f"next: mlops project show ./{tmp_path.name}" in capsys.readouterr().out
    assert cli(tmp_path, "project", "show", "-P", "size=3") == 0
    out = capsys.readouterr().out
    assert "runs python script.py 3" in out
    assert "a number" in out


def test_every_fault_is_named_with_its_line(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    write_project(tmp_path, "")
    (tmp_path / "mlops.toml").write_text("[parameters.sise]\nmin = 1\n")
    assert cli(tmp_path, "project", "validate") == 3
    text = capsys.readouterr().out.replace("\n", "")
    assert "mlops.toml:1: no entry point has a parameter `sise`. Did you mean `size`?" in text

    assert cli(tmp_path, "project", "validate", "--json") == 3
    document = json.loads(capsys.readouterr().out)
    fits("project-validate", document)
    assert document["valid"] is False
    (fault,) = document["faults"]
    assert fault["line"] == 1
    assert fault["hint"] == "Did you mean `size`?"
    assert fault["severity"] == "error"

    assert cli(tmp_path, "train") == 3
    assert "Did you mean `size`?" in capsys.readouterr().err


def test_show_as_json(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    write_project(tmp_path, "")
    assert cli(tmp_path, "project", "show", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    fits("project-show", document)
    assert [point["name"] for point in document["entry_points"]] == ["main", "other"]
    assert document["entry_points"][0]["parameters"][0]["default"] == "1"
    assert document["entry_points"][1]["train"] == "mlops train -e other"


@pytest.mark.parametrize("command", ["validate", "show"])
def test_exit_codes(cli: Cli, tmp_path: Path, command: str) -> None:
    assert cli(tmp_path, "project", command) == 5
    (tmp_path / "MLproject").write_text("[")
    assert cli(tmp_path, "project", command) == 3
    write_project(tmp_path, "")
    assert cli(tmp_path, "project", "show", "-e", "mian") == 5
    assert cli(tmp_path, "project", "show", "-P", "size=big") == 3


def test_a_script_that_is_not_there_is_a_fault(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    write_project(tmp_path, "")
    (tmp_path / "MLproject").write_text(
        "name: odd\nentry_points:\n"
        '  main: {command: "python -u scrpt.py"}\n'
        '  away: {command: "cd elsewhere && python gone.py"}\n'
        '  here: {command: "python script.py"}\n'
        '  part: {command: "python -m gone.py"}\n'
    )
    assert cli(tmp_path, "project", "validate") == 3
    out = capsys.readouterr().out
    assert out.count("error:") == 1
    assert "MLproject:3: the command of `main` starts `scrpt.py`, which is not there" in out
    assert "Did you mean `script.py`?" in out
    # Another entry point runs all the same.
    assert cli(tmp_path, "project", "show", "-e", "here") == 0
