"""What a script is given for typed parameters, by either runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops.settings import load_settings
from mlops.training import TrainRequest, train
from tests.training.projects import write_project

pytestmark = pytest.mark.usefixtures("clean_environ")

_MLPROJECT = """
name: typed
entry_points:
  main:
    parameters:
      alpha: {type: float, default: 0.5}
      depth: string
      fast: {type: string, default: false}
      layers: {type: string, default: "64,32"}
      word: {type: string, default: x}
    command: "python script.py {alpha} --depth {depth} --fast {fast} --layers {layers} -w {word}"
"""
_TOML = """
[parameters.depth]
type = "int"
optional = true

[parameters.fast]
type = "bool"

[parameters.layers]
type = "list"
style = "words"
"""
_SCRIPT = "import json, sys; print(json.dumps(sys.argv[1:]))"


@pytest.mark.parametrize("warm", [True, False])
def test_flags_lists_and_absent_values_reach_the_script(ready_folder: Path, warm: bool) -> None:
    write_project(ready_folder, _SCRIPT, _MLPROJECT)
    (ready_folder / "mlops.toml").write_text(_TOML)
    settings = load_settings(ready_folder, flags={"training.warm": warm}, environ={})
    words = ("layers=8,it's", "word={x} y", "fast=true")
    result = train(TrainRequest(str(ready_folder), parameters=words), settings)
    assert json.loads(result.log.read_text().splitlines()[-1]) == [
        "0.5", "--fast", "--layers", "8", "it's", "-w", "{x} y",
    ]  # fmt: skip
    assert result.params == {
        "alpha": "0.5", "fast": "true", "layers": "8,it's", "word": "{x} y",
    }  # fmt: skip
