"""MLproject and mlops.toml together: what they say, and where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.training.inspection import show_project, validate_project
from mlops.training.parameter_types import Parameter
from mlops.training.positions import Fault
from mlops.training.project import read_project
from tests.training.projects import write_project

_MLPROJECT = """name: typed
entry_points:
  main:
    parameters:
      alpha: float
      depth: {type: float, default: 3}
      fast: {type: string, default: false}
      net: {type: string, default: small}
      layers: {type: string, default: "64,32"}
      seed: string
    command: "python script.py {alpha} --depth {depth} --fast {fast} {net} {layers} --seed {seed}"
"""
_TOML = """[deploy]
port = 0

[parameters.alpha]
min = 0
max = 10

[parameters]
depth = {type = "int", min = 1}
fast.type = "bool"

[parameters.net]
choices = ["small", "large"]

[parameters.layers]
type = "list"
items = "int"
style = "words"

[parameters.seed]
type = "int"
optional = true
"""


def _faults(folder: Path, toml: str, mlproject: str = _MLPROJECT) -> list[Fault]:
    write_project(folder, "", mlproject)
    (folder / "mlops.toml").write_text(toml)
    return list(validate_project(str(folder)).faults)


def test_the_two_files_make_one_declaration(tmp_path: Path) -> None:
    assert _faults(tmp_path, _TOML) == []
    parameters = read_project(tmp_path).entry_point("main").parameters
    assert list(parameters.values()) == [
        Parameter("alpha", "float", minimum=0, maximum=10),
        Parameter("depth", "int", 3, minimum=1),
        Parameter("fast", "bool", False, flag=""),
        Parameter("net", "choice", "small", choices=("small", "large")),
        Parameter("layers", "list", "64,32", items="int", style="words"),
        Parameter("seed", "int", optional=True),
    ]


def test_show_says_what_would_run(tmp_path: Path) -> None:
    _faults(tmp_path, _TOML)
    (point,) = show_project(str(tmp_path)).entry_points
    assert point.command == "python script.py {alpha} --depth 3 small 64 32"
    assert point.train == "mlops train -P alpha=…"
    (point,) = show_project(
        str(tmp_path), words=["alpha=1", "fast=true", "seed=7", "layers=8"]
    ).entry_points
    assert point.command == "python script.py 1 --depth 3 --fast small 8 --seed 7"
    accepted = {p.name: p.accepts for p in point.parameters}
    assert accepted["alpha"] == "a number from 0 to 10"
    assert accepted["depth"] == "a whole number of at least 1"


def test_the_table_of_a_pyproject_counts_too(tmp_path: Path) -> None:
    write_project(tmp_path, "")
    (tmp_path / "pyproject.toml").write_text("[tool.mlops.parameters.size]\nmax = 'x'\n")
    with pytest.raises(InvalidInputError, match=r"pyproject\.toml:2: `max` of parameter `size`"):
        read_project(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    read_project(tmp_path)


@pytest.mark.parametrize(
    ("toml", "line", "words"),
    [
        ("[parameters.alhpa]\nmin = 1", 1, "no entry point has a parameter `alhpa`"),
        ("[parameters]\nalpha = 3", 2, "`alpha` must be a table"),
        ('[parameters.alpha]\ntype = "flaot"', 2, "Did you mean `float`?"),
        ("[parameters.alpha]\nmni = 1", 2, "Did you mean `min`?"),
        ("[parameters.alpha]\n\nmin = 3\nmax = 2", 4, "must not be below `min`, 3, not `2`"),
        ("[parameters.alpha]\nmin = true", 2, "`min` of parameter `alpha` must be a number"),
        ('[parameters.alpha]\ntype = "path"', 2, "but the MLproject says `float`"),
        ("[parameters.net]\nmin = 3", 2, "has no meaning for type `string`"),
        ("[parameters.net]\nchoices = []", 2, "must be a list of values"),
        ('[parameters.net]\ntype = "choice"', 1, "`choices` of parameter `net` must be a list"),
        ('[parameters.fast]\ntype = "bool"\nflag = "fast"', 3, "must be an option"),
        ('[parameters.layers]\ntype = "list"\nstyle = "x"', 3, "`joined`, `words` or `repeated`"),
        ("parameters = 3", 1, "must be a table of tables"),
    ],
)
def test_faults_of_the_toml_have_file_and_line(
    tmp_path: Path, toml: str, line: int, words: str
) -> None:
    faults = [f for f in _faults(tmp_path, toml) if f.severity == "error"]
    assert [f.file.name for f in faults] == ["mlops.toml"]
    assert faults[0].line == line
    assert words in str(faults[0])


@pytest.mark.parametrize(
    ("old", "new", "line", "severity", "words"),
    [
        ("name: typed", "nmae: typed", 1, "error", "Did you mean `name`?"),
        ("{alpha} --depth", "{alhpa} --depth", 11, "error", "Did you mean `alpha`?"),
        ("{alpha} --depth", "--depth", 5, "warning", "does not use its parameter `alpha`"),
        ("{alpha} --depth", "{alpha} { --depth", 11, "error", "braces that do not match"),
        ("alpha: float", "alpha: flaot", 5, "warning", "Did you mean `float`?"),
        ("default: 3}", "default: x}", 6, "error", "default of parameter `depth` must be a number"),
        ("default: 3}", "defualt: 3}", 6, "warning", "Did you mean `default`?"),
        ("    command:", "    comand:", 11, "error", "Did you mean `command`?"),
        ("seed: string", "alpha: string", 10, "error", "`alpha` is given here for the second time"),
    ],
)
def test_faults_of_the_mlproject_have_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, severity: str, words: str
) -> None:
    assert old in _MLPROJECT
    found = [f for f in _faults(tmp_path, "", _MLPROJECT.replace(old, new)) if words in str(f)]
    assert [(f.file.name, f.line, f.severity) for f in found] == [("MLproject", line, severity)]


def test_a_default_out_of_bounds_is_a_fault_of_the_mlproject(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, "[parameters.depth]\nmin = 5\n")
    assert str(fault).endswith(
        "MLproject:6: the default of parameter `depth` must be a number of at least 5, not `3`"
    )
