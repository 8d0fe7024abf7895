"""Scales, ticks and paths."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.charts import (
    SIZE,
    Scale,
    band,
    column,
    covering,
    line,
    nice_numbers,
    nice_width_ms,
    number_labels,
    span_of_time,
    time_ticks,
    x_ticks,
    y_ticks,
)

FINITE = st.floats(-1e12, 1e12)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
#: 1 March 2026, 00:00 UTC.
MARCH = 1_772_323_200_000


def test_a_scale_maps_its_ends_to_the_edges() -> None:
    scale = Scale(-2.0, 6.0)
    assert (scale.at(-2), scale.at(6), scale.at(0)) == (0, SIZE, SIZE / 4)
    assert (scale.percent(0), scale.up(0)) == (25.0, 75.0)


@given(FINITE, FINITE, st.floats(allow_nan=False))
def test_positions_stay_near_the_plot_whatever_the_value(a: float, b: float, value: float) -> None:
    assert -SIZE <= Scale(min(a, b), max(a, b)).at(value) <= 2 * SIZE


def test_a_value_that_is_none_has_no_position() -> None:
    assert math.isnan(Scale(0, 1).at(math.nan))


@given(st.lists(st.floats(), max_size=5))
def test_a_covering_scale_shows_every_finite_value_and_zero(values: list[float]) -> None:
    scale = covering(v for v in values if not abs(v) > 1e300)
    assert math.isfinite(scale.low)
    assert scale.low <= 0 <= scale.high
    assert scale.low < scale.high
    assert all(scale.low <= v <= scale.high for v in values if abs(v) <= 1e300)


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (-0.19, 0.07, 5, [-0.15, -0.1, -0.05, 0, 0.05]),
        (0, 15_000, 6, [0, 2_000, 4_000, 6_000, 8_000, 10_000, 12_000, 14_000]),
        (0, 1, 4, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (3, 3, 5, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, expected: list[float]) -> None:
    assert nice_numbers(Scale(low, high), count) == expected


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9), st.integers(1, 10))
def test_ticks_are_on_the_scale_and_about_as_many_as_asked(
    low: float, span: float, count: int
) -> None:
    scale = Scale(low, low + span)
    ticks = nice_numbers(scale, count)
    assert len(ticks) <= 2 * count + 1
    slack = 1e-6 * (abs(low) + span)
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)


def test_labels_tell_neighbours_apart() -> None:
    assert number_labels([0.05, 0.1]) == ["0.05", "0.10"]
    assert number_labels([-0.5, 0, 0.5], signed=True) == ["\N{MINUS SIGN}0.5", "0", "+0.5"]
    assert number_labels([0, 25, 50]) == ["0", "25", "50"]
    assert number_labels([0, 2.5, 5]) == ["0", "2.5", "5.0"]
    assert number_labels([0, 2e7]) == ["0", "2e+07"]
    assert number_labels([]) == []


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6))
def test_no_two_ticks_have_one_label(low: float, span: float) -> None:
    labels = [tick.label for tick in y_ticks(Scale(low, low + span), 5)]
    assert len(set(labels)) == len(labels)


def test_counts_have_no_fractions() -> None:
    assert [tick.label for tick in x_ticks(Scale(0, 2), 6)] == ["0", "1", "2"]
    assert [tick.minor for tick in x_ticks(Scale(0, 2), 6)] == [False, True, False]


@pytest.mark.parametrize(
    ("start", "span", "labels"),
    [
        (MARCH, 20_000, ["00:00:00", "00:00:05", "00:00:10", "00:00:15", "00:00:20"]),
        (MARCH + 8 * HOUR, 2 * HOUR, ["08:00", "08:30", "09:00", "09:30", "10:00"]),
        (MARCH + 18 * HOUR, 12 * HOUR, ["18:00", "21:00", "2 Mar", "03:00", "06:00"]),
        (MARCH, 4 * DAY, ["1 Mar", "2 Mar", "3 Mar", "4 Mar", "5 Mar"]),
        (MARCH, 150 * DAY, ["Mar 2026", "Apr 2026", "May 2026", "Jun 2026", "Jul 2026"]),
        (MARCH, 1500 * DAY, ["Jan 2027", "Jan 2028", "Jan 2029", "Jan 2030"]),
    ],
)
def test_times_are_as_short_as_their_neighbours_allow(
    start: int, span: int, labels: list[str]
) -> None:
    assert [tick.label for tick in time_ticks(Scale(start, start + span), 4)] == labels


def test_stretches_of_time_are_round_and_cover_the_span() -> None:
    for span in (0, 1, 30_000, MINUTE, HOUR + 1, 3 * DAY, 30 * DAY, 3_000 * DAY):
        width = nice_width_ms(span, 72)
        assert width * 72 >= span
        assert width % 1000 == 0


def test_a_span_of_time_says_nothing_twice() -> None:
    assert span_of_time(MARCH, MARCH + HOUR) == "1 Mar 2026, 00:00 to 01:00 UTC"
    assert span_of_time(MARCH, MARCH + 5_000) == "1 Mar 2026, 00:00:00 to 00:00:05 UTC"


@pytest.mark.parametrize(
    ("points", "path"),
    [
        ([], ""),
        ([(1, 2)], "M1 2"),
        ([(1, 2), (3.14159, 4)], "M1 2L3.14 4"),
        ([(0, math.inf), (1, 1), (2, math.nan), (3, 3), (4, 4)], "M1 1M3 3L4 4"),
    ],
)
def test_lines_leave_gaps(points: list[tuple[float, float]], path: str) -> None:
    assert line(points) == path


def test_bands_need_two_known_looks() -> None:
    assert band([]) == ""
    assert band([(0, 1, 2)]) == ""
    assert band([(0, math.inf, -math.inf), (1, 5, 1), (2, 4, 2)]) == "M1 1L2 2L2 4L1 5Z"


@given(st.lists(st.tuples(st.floats(), st.floats(), st.floats()), max_size=8))
def test_paths_hold_numbers_only(points: list[tuple[float, float, float]]) -> None:
    text = band(points) + line((x, y) for x, y, _ in points)
    assert re.fullmatch(r"([MLZ]|-?\d+(\.\d+)?| )*", text)


def test_columns_without_height_are_left_out() -> None:
    assert column(0, 10, 50, 50) == ""
    assert column(0, 10, 100, 40) == "M0 100V40H10V100Z"
