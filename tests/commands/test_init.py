from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mlops.resources import shipped
from mlops.training.project import read_project
from tests.fixtures_training import Cli

Capture = pytest.CaptureFixture[str]


def test_wine_is_written_as_it_ships_and_twice_is_once(
    cli: Cli, tmp_path: Path, capsys: Capture
) -> None:
    assert cli(tmp_path, "init") == 0
    assert "next: mlops train -P alpha=0.5" in capsys.readouterr().out
    for name in ("MLproject", "train.py", "data/customers.csv", "mlops.toml"):
        assert (tmp_path / name).read_bytes() == (shipped("wine_example") / name).read_bytes()
    assert cli(tmp_path, "init", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["created"] == []
    assert "data/train.csv" in document["unchanged"]


def test_no_file_is_ever_overwritten(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "train.py").write_text("mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").write_text("mine too")
    assert cli(tmp_path, "init", "--template", "wine") == 7
    error = capsys.readouterr().err
    assert "`data/README.md`, `train.py`" in error
    assert (tmp_path / "train.py").read_text() == "mine"
    assert not (tmp_path / "MLproject").exists()


def test_a_file_in_the_place_of_the_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert cli(tmp_path, "init", "x") == 7


def test_minimal_is_named_after_its_folder_and_valid(
    cli: Cli, tmp_path: Path, capsys: Capture
) -> None:
    assert cli(tmp_path, "init", "my first model", "--template", "minimal") == 0
    assert "next: cd my first model" in capsys.readouterr().out
    folder = tmp_path / "my first model"
    assert read_project(folder).name == "my-first-model"
    assert not list(folder.rglob("*.j2"))
    compile((folder / "train.py").read_text(), "train.py", "exec")


def test_an_unknown_template_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    assert cli(tmp_path, "init", "--template", "beer") == 2


@pytest.mark.parametrize("template", ["wine", "minimal"])
def test_the_script_runs_by_hand(
    cli: Cli, tmp_path: Path, empty_database: Path, template: str
) -> None:
    cli(tmp_path, "init", "--template", template)
    # Where MLflow keeps runs by default.
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]


def test_the_customers_are_strangers_to_the_training_data() -> None:
    data = shipped("wine_example") / "data"
    train = (data / "train.csv").read_text().splitlines()
    customers = (data / "customers.csv").read_text().splitlines()
    assert train[0] == customers[0]
    assert (len(train) - 1, len(customers) - 1) == (1199, 400)
    assert 'customers.csv"' not in (shipped("wine_example") / "train.py").read_text()
