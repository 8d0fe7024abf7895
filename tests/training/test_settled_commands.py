from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.training.command import in_full, placeholders, settle
from mlops.training.parameter_types import Parameter
from mlops.training.project import EntryPoint


def _point(command: str, *parameters: Parameter) -> EntryPoint:
    return EntryPoint("main", {p.name: p for p in parameters}, command=command)


@pytest.mark.parametrize(
    ("command", "flag", "on", "off"),
    [
        ("run {fast}", "", "run --fast", "run"),
        ("run --fast {fast} x", "", "run --fast x", "run x"),
        ("run --verbose {fast}", "", "run --verbose --fast", "run --verbose"),
        ("run {fast}", "-f", "run -f", "run"),
        ("run {fast}", "--fast/--no-fast", "run --fast", "run --no-fast"),
        ("run --fast {fast}", "--fast/--no-fast", "run --fast", "run --no-fast"),
        ("run --fast {fast}", None, "run --fast true", "run --fast false"),
    ],
)
def test_a_bool_is_a_flag_or_nothing(command: str, flag: str | None, on: str, off: str) -> None:
    point = _point(command, Parameter("fast", "bool", flag=flag))
    assert in_full(point, {"fast": "true"}) == on
    assert in_full(point, {"fast": "false"}) == off


@pytest.mark.parametrize(
    ("command", "with_it", "without"),
    [
        ("run --depth {depth} x", "run --depth 3 x", "run x"),
        ("run --depth={depth}", "run --depth=3", "run"),
        ("run -d {depth}", "run -d 3", "run"),
        ("run {depth}", "run 3", "run"),
        ("run {{x}} {depth}", "run {x} 3", "run {x}"),
    ],
)
def test_an_absent_value_takes_its_option_with_it(command: str, with_it: str, without: str) -> None:
    point = _point(command, Parameter("depth", "int", optional=True))
    assert in_full(point, {"depth": "3"}) == with_it
    assert in_full(point, {}) == without
    assert in_full(point, {"depth": ""}) == without


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("joined", "run --layers 64,32"),
        ("words", "run --layers 64 32"),
        ("repeated", "run --layers 64 --layers 32"),
    ],
)
def test_a_list_stands_as_its_style_says(style: str, expected: str) -> None:
    point = _point("run --layers {layers}", Parameter("layers", "list", style=style))  # type: ignore[arg-type]
    assert in_full(point, {"layers": "64,32"}) == expected


def test_what_has_no_value_stays_in_braces_and_the_rest_is_left_to_mlflow() -> None:
    point = _point(
        "run {alpha} {fast}", Parameter("alpha", "float"), Parameter("fast", "bool", flag="")
    )
    assert in_full(point, {"fast": "false"}) == "run {alpha}"
    assert settle(point, {"alpha": "1", "fast": "true"}) == "run {alpha} --fast"


def test_a_bare_script_gets_options() -> None:
    script = EntryPoint("x.py", {}, any_parameter=True, command="python x.py")
    assert in_full(script, {"a": "b c"}) == "python x.py --a 'b c'"


@given(st.text(max_size=20), st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_no_value_leaves_its_place(word: str, items: list[str]) -> None:
    """What a shell makes of the command is what was given, whatever it is."""
    items = [item.replace(",", "").strip() or "x" for item in items]
    point = _point(
        "run --w {word} --l {items} --end",
        Parameter("word"),
        Parameter("items", "list", style="words"),
    )
    command = in_full(point, {"word": word, "items": ",".join(items)})
    assert shlex.split(command) == ["run", "--w", word, "--l", *items, "--end"]


def test_placeholders_are_named_and_braces_checked() -> None:
    assert placeholders("a {b} {{c}} {d}") == ["b", "d"]
    with pytest.raises(ValueError, match="expected"):
        placeholders("a {b")
