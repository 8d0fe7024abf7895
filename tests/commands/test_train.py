from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.fixtures_training import Cli
from tests.training.projects import write_project

Capture = pytest.CaptureFixture[str]

_MODEL = """
import mlflow
from mlflow.pyfunc import PythonModel
class Same(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input
with mlflow.start_run():
    mlflow.log_metric("rmse", 0.5)
    mlflow.pyfunc.log_model(name="model", python_model=Same(), pip_requirements=[])
print("done [bold]well[/]")
"""


def test_a_newcomers_first_training(cli: Cli, ready_folder: Path, capsys: Capture) -> None:
    write_project(ready_folder, _MODEL)
    assert cli(ready_folder, "train", "-P", "size=2", "--alias", "modelA") == 0
    out, err = capsys.readouterr()
    assert out.startswith("tiny/1 @modelA\n")
    lines = [line.split() for line in out.splitlines()]
    assert lines.index(["metrics"]) < lines.index(["rmse", "0.5"]) < lines.index(["parameters"])
    assert lines.index(["parameters"]) < lines.index(["size", "2"])
    log = next(words[1] for words in lines if words[:1] == ["log"])
    assert "done [bold]well[/]" in (ready_folder / log).read_text()
    assert out.splitlines()[-1] == "next: mlops ui"
    assert "next: mlops deploy --model modelA" in out
    # A model without a signature can have no profile, so nothing is said of one.
    phases = err.splitlines()
    assert [line.split("  ")[1].split(",")[0] for line in phases] == [
        "Opening MLflow",
        "Training",
        "Registering",
    ]
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in phases)

    assert cli(ready_folder, "train", "--no-register", "--follow", "--quiet") == 0
    out, err = capsys.readouterr()
    assert out.startswith("nothing registered: `--no-register`\n")
    assert err == ""

    signed = "pip_requirements=[], signature=mlflow.models.infer_signature({'a': [1.0]})"
    write_project(ready_folder, _MODEL.replace("pip_requirements=[]", signed))
    assert cli(ready_folder, "train", "--alias", "modelA", "--follow", "--json") == 0
    out, err = capsys.readouterr()
    # A table could be compared with here, and none is named: what names it is said.
    assert '\n  data = mlflow.data.from_pandas(table, source="data/train.csv")\n' in err
    assert "\ndone [bold]well[/]\n" in err
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert document["model"]["label"] == "tiny/2"
    assert document["moved_from"] == 1
    assert document["status"] == "FINISHED"
    assert document["metrics"] == {"rmse": 0.5}
    assert document["params"] == {"size": "1"}
    assert document["next_commands"] == ["mlops deploy --ab tiny/1 modelA"]


def test_registering_afterwards(cli: Cli, ready_folder: Path, capsys: Capture) -> None:
    second = "    mlflow.pyfunc.log_model(name='line', python_model=Same(), pip_requirements=[])\n"
    write_project(ready_folder, _MODEL.replace("print(", f"    pass\n{second}print("))
    assert cli(ready_folder, "train", "--json") == 2
    hint = json.loads(capsys.readouterr().out)["error"]["hint"]
    words = re.match(r"`mlops (models register (\w+) --model model)`", hint)
    assert words is not None
    run_id = words[2]
    register = ("models", "register", run_id, "--model", "line", "--alias", "a", "--alias", "b")
    assert cli(ready_folder, *register) == 0
    assert capsys.readouterr().out == "tiny/1\n\nnext: mlops deploy --model b\n"
    # Again is no second version.
    assert cli(ready_folder, *register, "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"]["label"] == "tiny/1"
    assert cli(ready_folder, *words[1].split(), "--name", "other", "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"]["label"] == "other/1"
    assert cli(ready_folder, "models", "register", f"runs:/{run_id}/line") == 0
    assert capsys.readouterr().out.startswith("tiny/1\n")
    for wrong, code in (
        ((run_id,), 2),
        (("0" * 32,), 5),
        ((run_id, "--model", "lien"), 5),
        ((run_id, "--model", "line", "--alias", "v1"), 3),
    ):
        assert cli(ready_folder, "models", "register", *wrong) == code
        assert "error:" in capsys.readouterr().err


def test_wrong_parameters_are_all_named(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    write_project(tmp_path, "")
    assert cli(tmp_path, "train", "-P", "sise=1", "-P", "size=big") == 3
    err = capsys.readouterr().err
    assert "Did you mean `size`?" in err
    assert "`size` must be a number, not `big`" in err
    assert "mlops train [-P size=FLOAT]" in err


def test_a_failure_is_one_json_document(cli: Cli, ready_folder: Path, capsys: Capture) -> None:
    write_project(ready_folder, "print('[red]oh'); raise SystemExit(4)")
    assert cli(ready_folder, "train", "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == 1
    assert "| [red]oh" in error["message"]
    assert str(ready_folder) in error["hint"]


def test_the_difference_of_environments_is_told(
    cli: Cli, ready_folder: Path, capsys: Capture
) -> None:
    write_project(ready_folder, "")
    (ready_folder / "python_env.yaml").write_text("dependencies: [no-such-package>=1]\n")
    assert cli(ready_folder, "train", "--env-manager", "local") == 0
    out, err = capsys.readouterr()
    assert "environment: no-such-package >=1 wanted, is not installed (missing)" in err
    assert out.startswith("nothing registered: the script logged no model\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [(("nowhere",), 5), ((".",), 5), (("--no-register", "--alias", "a"), 2), (("--nonsense",), 2)],
)
def test_exit_codes(cli: Cli, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    assert cli(tmp_path, "train", *words) == code


def test_state_lies_beside_the_project_from_outside_too(
    cli: Cli, ready_folder: Path, capsys: Capture
) -> None:
    outside, project = ready_folder.parent, write_project(ready_folder, _MODEL)
    name = project.name
    assert cli(outside, "train", f"./{name}") == 0
    said = capsys.readouterr()
    assert f"state is kept beside the project, in {name}/.mlops" in said.err
    assert f"next: cd {name} && mlops deploy --model tiny/1" in said.out
    assert not (outside / ".mlops").exists()
    assert cli(project, "models", "list") == 0
    assert "tiny/1" in capsys.readouterr().out
    # Who asks from outside learns where to go.
    assert cli(outside, "models", "show", "tiny") == 5
    assert f"`cd {name}`" in capsys.readouterr().err


_REFUSED = """
raise ValueError("set the 'skops_trusted_types' parameter when calling 'log_model'")
"""


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        (_REFUSED, 'serialization_format="cloudpickle"'),
        ("import no_such_package", "`no_such_package` is not installed beside `mlops`"),
    ],
)
def test_a_failure_whose_message_does_not_help_gets_a_hint(
    cli: Cli, ready_folder: Path, capsys: Capture, script: str, hint: str
) -> None:
    write_project(ready_folder, script)
    assert cli(ready_folder, "train") == 1
    assert hint in " ".join(capsys.readouterr().err.split())
