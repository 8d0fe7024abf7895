from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops.registry import open_registry
from tests.fixtures_training import Cli, TrainedWine

Capture = pytest.CaptureFixture[str]


def test_list(cli: Cli, trained_wine: TrainedWine, capsys: Capture) -> None:
    assert cli(trained_wine.folder, "models", "list") == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:2] == ["MODEL", "ALIASES"]
    assert [line[:2] for line in lines[1:]] == [["wine/2", "modelB"], ["wine/1", "modelA"]]
    assert err == ""

    assert cli(trained_wine.folder, "models", "list", "wine", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [model["label"] for model in document["models"]] == ["wine/2", "wine/1"]
    assert document["models"][0]["created"].endswith("+00:00")


def test_show(cli: Cli, trained_wine: TrainedWine, capsys: Capture) -> None:
    assert cli(trained_wine.folder, "models", "show", "modelA") == 0
    out = capsys.readouterr().out
    assert out.startswith("wine/1 @modelA (alias of wine)\n")
    assert trained_wine.first.run_id in out
    assert "fixed acidity: double" in out
    assert "scikit-learn==" in out

    assert cli(trained_wine.folder, "models", "show", "wine/1", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"]["label"] == "wine/1"
    assert document["details"]["inputs"][0] == {
        "name": "fixed acidity",
        "type": "double",
        "required": True,
    }


def test_compare(cli: Cli, trained_wine: TrainedWine, capsys: Capture) -> None:
    assert cli(trained_wine.folder, "models", "compare", "wine/1", "wine/2") == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows["alpha"] == ["0.1", "1.0"]
    assert rows["rmse"][2].startswith("(+0.0")

    assert cli(trained_wine.folder, "models", "compare", "wine/1", "wine/2", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["metrics"]] == ["mae", "r2", "rmse"]


def test_parameters_with_brackets_and_control_characters(
    cli: Cli, own_wine: TrainedWine, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_registry(own_wine.settings)
    for number in range(9):
        client.log_param(own_wine.second.run_id, f"auto{number}", "x")
    client.log_param(own_wine.second.run_id, "layers", "[relu, tanh]")
    client.log_param(own_wine.second.run_id, "paths", "[/data/a.csv, \x1b[2Jb]")
    client.log_param(own_wine.second.run_id, "slash", "\\")
    assert cli(own_wine.folder, "models", "compare", "wine/1", "wine/2") == 0
    out = capsys.readouterr().out
    header, *lines = out.splitlines()
    assert header.split() == ["wine/1", "@modelA", "(baseline)", "wine/2", "@modelB"]
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["layers"].endswith("[relu, tanh]")
    assert rows["paths"].endswith("[/data/a.csv, \\x1b[2Jb]")
    assert list(rows).index("rmse") < list(rows).index("alpha")
    assert "l1_ratio" not in rows
    assert "`--all` shows them" in out
    assert cli(own_wine.folder, "models", "compare", "wine/1", "wine/2", "--all") == 0
    assert "l1_ratio" in capsys.readouterr().out

    monkeypatch.setenv("COLUMNS", "80")
    assert cli(own_wine.folder, "models", "list") == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 12
    assert "rmse=" in out
    assert "alpha=" in out
    assert "layers" not in out
    for words in (("list", "--all"), ("show", "wine/2")):
        assert cli(own_wine.folder, "models", *words) == 0
        out = capsys.readouterr().out
        assert "layers=[relu," in out
        assert "\x1b" not in out


def test_a_regression_is_an_exit_code(cli: Cli, trained_wine: TrainedWine, capsys: Capture) -> None:
    words = ("models", "compare", "wine/2", "--against", "modelA", "--max-regression")
    assert cli(trained_wine.folder, *words, "rmse=1%", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["schema_version"], document["passed"]) == (1, False)
    assert [model["version"]["label"] for model in document["models"]] == ["wine/1", "wine/2"]
    assert document["evaluation"]["rows"] == 400
    assert document["judgements"][0]["candidate"] == "wine/2"
    assert cli(trained_wine.folder, *words, "rmse=50%") == 0
    out = capsys.readouterr().out
    assert "all on the same 400 rows" in out
    assert "ok wine/2 rmse" in out


def test_alias(cli: Cli, own_wine: TrainedWine, capsys: Capture) -> None:
    said = []
    for words in (
        ("wine/1", "champion"),
        ("wine/2", "champion"),
        ("wine/2", "champion"),
        ("wine", "champion", "--delete"),
    ):
        assert cli(own_wine.folder, "models", "alias", *words) == 0
        said.append(capsys.readouterr().out.strip())
    assert said == [
        "wine@champion is wine/1",
        "wine@champion is wine/2 (was version 1)",
        "wine@champion is wine/2 already",
        "wine@champion is gone; it was wine/2",
    ]
    assert cli(own_wine.folder, "models", "alias", "wine/1", "x", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "schema_version": 1,
        "model": "wine",
        "alias": "x",
        "version": 1,
        "before": 0,
    }


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "wien"), 5),
        (("show", "--json", "wine/x"), 2),
        (("compare", "wine/1"), 2),
        (("alias", "wine/1", "v1"), 3),
        (("list", "wien"), 5),
        (("lst",), 2),
    ],
)
def test_exit_codes(
    cli: Cli, trained_wine: TrainedWine, words: tuple[str, ...], code: int, capsys: Capture
) -> None:
    assert cli(trained_wine.folder, "models", *words) == code
    out, err = capsys.readouterr()
    if "--json" in words:
        assert json.loads(out)["error"]["exit_code"] == code
    else:
        assert (out, err != "") == ("", True)


def test_looking_into_an_empty_folder_makes_nothing(
    cli: Cli, tmp_path: Path, capsys: Capture
) -> None:
    assert cli(tmp_path, "models", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "models": []}
    assert cli(tmp_path, "models", "list") == 0
    assert "`mlops train` registers what it trains" in capsys.readouterr().out
    for words in (
        ("models", "list", "wine"),
        ("models", "show", "wine"),
        ("models", "compare", "a", "b"),
        ("models", "alias", "wine", "x"),
        ("lineage", "wine"),
        ("history", "wine"),
        ("history",),
        ("report",),
        ("deploy", "--ab", "a", "b"),
    ):
        assert cli(tmp_path, *words) == 5, words
        out, err = capsys.readouterr()
        assert (out, "yet" in err) == ("", True), words
    assert list(tmp_path.iterdir()) == []
