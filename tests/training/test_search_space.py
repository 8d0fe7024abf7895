from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlops.errors import InvalidInputError, NotFoundError
from mlops.training.parameter_types import Parameter
from mlops.training.parameters import assign
from mlops.training.project import EntryPoint
from mlops.training.search_space import (
    MOST_TRIALS,
    Axis,
    axis_of,
    combinations,
    grid_faults,
    grid_of,
)

FLOAT = Parameter("x", "float")
INT = Parameter("x", "int")
_numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(_numbers, _numbers, st.integers(2, 200))
def test_a_linear_range_grows_evenly_from_end_to_end(low: float, high: float, count: int) -> None:
    assume(high - low > 1e-3)
    axis = axis_of(FLOAT, f"lin:{low!r}..{high!r}:{count}")
    assert axis is not None
    values = [float(value) for value in axis.values]
    assert len(values) == count
    assert (values[0], values[-1]) == (low, high)
    step = (high - low) / (count - 1)
    for index, value in enumerate(values):
        assert value == pytest.approx(low + index * step, abs=1e-9 * max(abs(low), abs(high), 1))


@given(st.floats(1e-9, 1e3), st.floats(1.5, 1e6), st.integers(2, 100))
def test_a_logarithmic_range_grows_by_the_same_factor(
    low: float, factor: float, count: int
) -> None:
    axis = axis_of(FLOAT, f"log:{low!r}..{low * factor!r}:{count}")
    assert axis is not None
    values = [float(value) for value in axis.values]
    steps = [math.log(b / a) for a, b in itertools.pairwise(values)]
    assert steps == pytest.approx([math.log(factor) / (count - 1)] * (count - 1), rel=1e-5)


@given(st.integers(-1000, 1000), st.integers(1, 1000), st.integers(2, 50))
def test_a_range_of_whole_numbers_has_only_such_and_each_once(
    low: int, span: int, count: int
) -> None:
    axis = axis_of(INT, f"lin:{low}..{low + span}:{count}")
    assert axis is not None
    values = [int(value) for value in axis.values]
    assert values == sorted(set(values))
    assert (values[0], values[-1]) == (low, low + span)
    assert len(values) == min(count, len(values))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=9))
def test_a_list_of_numbers_is_those_numbers(numbers: list[float]) -> None:
    axis = axis_of(FLOAT, ", ".join(map(repr, numbers)))
    assert axis is not None
    assert list(map(float, axis.values)) == list(dict.fromkeys(numbers)) or (
        {0.0} <= set(numbers)  # 0.0 and -0.0 are equal and written differently
    )


@given(st.text())
def test_text_with_commas_stays_text(text: str) -> None:
    assert axis_of(Parameter("x"), text) is None


@given(st.text(alphabet="lingo:.,-+e0123456789 x", max_size=24))
def test_whatever_is_written_is_values_of_the_type_or_a_fault(text: str) -> None:
    parameter = Parameter("x", "float", minimum=-5, maximum=5)
    try:
        axis = axis_of(parameter, text)
    except ValueError:
        return
    if axis is not None:
        ends = [*map(float, axis.values), *([] if axis.values else (axis.low, axis.high))]
        assert all(-5 <= value <= 5 for value in ends)
        assert axis_of(parameter, str(axis)) == axis or len(axis.values) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lin:0..1", ""),
        ("lin:1..0:5", "must grow"),
        ("log:0..1:5", "must start above 0"),
        ("lin:0..1:1", "needs a count from 2"),
        ("lin:0..1:x", "needs a count from 2"),
        ("lin:0..1:", "needs a count from 2"),
        ("lin:0:5", "is not a range"),
        ("log:a..b:5", "must be a number, not `a`"),
        ("0.1,,0.5", "must be a number, not ``"),
    ],
)
def test_ranges_say_what_is_wrong_with_them(text: str, words: str) -> None:
    if not words:
        assert axis_of(FLOAT, text) == Axis("x", (), 0.0, 1.0)
        return
    with pytest.raises(ValueError, match=words):
        axis_of(FLOAT, text)


def test_the_values_of_the_brief_ranges() -> None:
    axis = axis_of(FLOAT, "lin:0..1:5")
    assert axis is not None
    assert axis.values == ("0", "0.25", "0.5", "0.75", "1")
    axis = axis_of(FLOAT, "log:0.001..10:5")
    assert axis is not None
    assert axis.values == ("0.001", "0.01", "0.1", "1", "10")


def test_a_grid_takes_text_and_quotes_keep_a_comma() -> None:
    assert grid_of(Parameter("x"), "a, b,a").values == ("a", "b")
    assert grid_of(Parameter("x", "list"), '"64,32","128,64"').values == ("64,32", "128,64")
    with pytest.raises(ValueError, match="one of"):
        grid_of(Parameter("x", "choice", choices=("a", "b")), "a,c")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_combinations_are_all_and_each_once(sizes: list[int]) -> None:
    axes = [Axis(f"x{i}", tuple(map(str, range(size)))) for i, size in enumerate(sizes)]
    found = [tuple(point.items()) for point in combinations(axes)]
    assert len(found) == len(set(found)) == math.prod(sizes)


def test_a_grid_needs_counts_and_a_sane_size() -> None:
    assert "needs a count" in grid_faults({"x": Axis("x", (), 0, 1)})[0]
    wide = Axis("x", tuple(map(str, range(200))))
    assert str(MOST_TRIALS // 1000) in grid_faults({"x": wide, "y": wide})[0]
    assert grid_faults({"x": wide}) == []


POINT = EntryPoint(
    "main",
    {
        p.name: p
        for p in (
            Parameter("alpha", "float", minimum=0),
            Parameter("depth", "int", 3),
            Parameter("fast", "bool", False),
            Parameter("net", "choice", "a", choices=("a", "b", "a,b")),
            Parameter("layers", "list", "1,2", items="int"),
            Parameter("word", "string", "x"),
            Parameter("seed", "int", optional=True),
        )
    },
)


def test_words_are_values_or_axes_by_type() -> None:
    found = assign(
        POINT,
        ["alpha=0.1,0.5", "fast=TRUE", "net=a,b", "layers=4,5", "word=a,b", "seed="],
        ["depth=1,2"],
    )
    assert dict(found.given) == {
        "fast": "true", "net": "a,b", "layers": "4,5", "word": "a,b", "seed": "",
    }  # fmt: skip
    assert {name: axis.values for name, axis in found.axes.items()} == {
        "alpha": ("0.1", "0.5"),
        "depth": ("1", "2"),
    }


def test_every_value_of_an_axis_is_checked_and_all_faults_are_named() -> None:
    with pytest.raises(InvalidInputError) as caught:
        assign(POINT, ["alpha=0.5,-1", "dept=1", "net=c", "layers=1,x"], ["fast=true,maybe"])
    message = caught.value.message
    assert "`alpha` must be a number of at least 0, not `-1`" in message
    assert "`dept` is not a parameter. Did you mean `depth`?" in message
    assert "`net` must be one of `a`, `b` or `a,b`, not `c`" in message
    assert "`layers` must be a list of whole numbers, with commas between its items" in message
    assert "`fast` must be true or false, not `maybe`" in message
    assert len(message.splitlines()) == 5
    assert "[-P net=a|b|a,b]" in (caught.value.hint or "")


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_file_of_parameters_is_read_and_words_win(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"params.{suffix}"
    texts = {
        "yaml": "alpha: [0.1, 0.5]\ndepth: 4\nfast: yes\nlayers: [7, 8]\nseed:\n",
        "json": '{"alpha": [0.1, 0.5], "depth": 4, "fast": true, "layers": [7, 8], "seed": null}',
    }
    file.write_text(texts[suffix])
    found = assign(POINT, [f"@{file}", "depth=5"])
    assert dict(found.given) == {"depth": "5", "fast": "true", "layers": "7,8", "seed": ""}
    assert found.axes["alpha"].values == ("0.1", "0.5")
    assert not assign(POINT, [f"@{file}", "alpha=1"]).axes


def test_a_file_that_is_missing_or_wrong_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        assign(POINT, [f"@{tmp_path}/nothing.yaml"])
    file = tmp_path / "params.yaml"
    file.write_text("alpha: {a: 1}\nalhpa: 1\n")
    with pytest.raises(InvalidInputError) as caught:
        assign(POINT, [f"@{file}"])
    assert "`alpha` must be a value or a list of values" in caught.value.message
    assert "Did you mean `alpha`?" in caught.value.message
    file.write_text("- 1")
    with pytest.raises(InvalidInputError, match="mapping"):
        assign(POINT, [f"@{file}"])


def test_usual_values_give_way_to_words() -> None:
    found = assign(POINT, ["alpha=1,2"], usual={"alpha": "9", "depth": "7"})
    assert dict(found.given) == {"depth": "7"}
    assert set(found.axes) == {"alpha"}
