from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.schemas import fits
from tests.fixtures_training import Cli
from tests.training.projects import write_project

Capture = pytest.CaptureFixture[str]

_SCRIPT = "import sys, mlflow; mlflow.log_metric('loss', float(sys.argv[1]) ** 2)"


def test_a_sweep_and_what_came_of_it(cli: Cli, ready_folder: Path, capsys: Capture) -> None:
    write_project(ready_folder, _SCRIPT)
    assert cli(ready_folder, "train", "-P", "size=-2,1,3", "--minimize", "loss", "-j", "2") == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == ["trial", "size", "loss", "s", "state"]
    assert [line[1:3] for line in lines[2:5]] == [["1", "1"], ["-2", "4"], ["3", "9"]]
    assert lines[2][-1] == "best"
    assert "best size=1  loss 1" in out
    assert "next: mlops train --resume " in out
    assert "1/3  size=-2  loss 4" in err
    assert err.count("best so far") in (1, 2)

    # Nothing is left to run, so a resumed sweep only tells.
    words = ("train", "--resume", "--json", "--html", "page.html")
    assert cli(ready_folder, *words) == 0
    out, _ = capsys.readouterr()
    document = json.loads(out)
    fits("sweep", document)
    assert document["best"]["point"] == {"size": "1"}
    assert document["kept"] == 3
    assert [trial["state"] for trial in document["trials"]] == ["complete"] * 3
    assert document["html"] == "page.html"
    assert (ready_folder / "page.html").read_text().startswith("<!doctype html>")
    run_id = document["run_id"]
    assert cli(ready_folder, "train", "--resume", run_id, "--json") == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == run_id


def test_a_sweep_of_failures_exits_with_one(cli: Cli, ready_folder: Path, capsys: Capture) -> None:
    write_project(ready_folder, "raise SystemExit('no luck')")
    assert cli(ready_folder, "train", "--grid", "size=1,2", "--json") == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    fits("sweep", document)
    assert document["status"] == "FAILED"
    assert [trial["note"] for trial in document["trials"]] == ["exit code 1: no luck"] * 2
    assert "1/2  size=1  failed (exit code 1: no luck)" in err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-P", "size=1,2", "--minimize", "a", "--maximize", "b"), 2),
        (("--sweep", "tpe", "--minimize", "a"), 2),
        (("--sweep", "bayes"), 2),
        (("-P", "size=1,2", "--trials", "0"), 2),
        (("-P", "size=1,2", "-j", "0"), 2),
        (("-P", "size=1,x"), 3),
        (("-P", "size=lin:2..1:4"), 3),
        (("--best",), 2),
        (("-P", "@nothing.yaml"), 5),
    ],
)
def test_exit_codes(cli: Cli, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    write_project(tmp_path, "")
    assert cli(tmp_path, "train", *words) == code
    assert not (tmp_path / ".mlops").exists()
