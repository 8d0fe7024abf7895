from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.fixtures_training import Cli

Capture = pytest.CaptureFixture[str]


def test_show_prints_what_is_in_force(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mlops.toml").write_text("[feedback]\ndraws = 7\n")
    assert cli(tmp_path, "config", "show") == 0
    out = capsys.readouterr().out
    assert "draws = 7" in out
    assert f'uri = "sqlite:///{tmp_path}/.mlops/mlflow.db"' in out
    assert "default" not in out


def test_origin_names_the_source(
    cli: Cli, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlops.toml").write_text("[feedback]\ndraws = 7\n")
    monkeypatch.setenv("MLOPS_REPORT_ALPHA", "0.01")
    assert cli(tmp_path, "config", "show", "--origin") == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert f"draws = 7  # {tmp_path / 'mlops.toml'}" in lines
    assert "alpha = 0.01  # environment: MLOPS_REPORT_ALPHA" in lines
    assert "seed = 0  # default" in lines
    assert "# reward_range is not set  # default" in lines
    # What is printed may be put into a file.
    read = tomllib.loads(out)
    assert (read["feedback"]["draws"], read["training"]["warm"]) == (7, True)


def test_json_and_no_secret(
    cli: Cli, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter2@mlflow:5000")
    monkeypatch.setenv("MLOPS_JOURNAL_URL", "postgresql://ann:hunter2@db/journal")
    assert cli(tmp_path, "config", "show", "--json") == 0
    text = capsys.readouterr().out
    assert "hunter2" not in text
    document = json.loads(text)
    assert document["settings"]["tracking.uri"]["value"] == "http://mlflow:5000"
    assert document["settings"]["tracking.uri"]["origin"] == "environment: MLFLOW_TRACKING_URI"
    assert document["settings"]["journal.url"]["value"] == "postgresql://db/journal"


def test_a_wrong_file_is_named_with_its_line(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mlops.toml").write_text("[feedback]\ndrwas = 7\n")
    assert cli(tmp_path, "config", "show") == 3
    assert "mlops.toml:2: unknown key of [feedback] `drwas`" in capsys.readouterr().err
