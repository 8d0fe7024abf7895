"""Shares as whole numbers: 0 means 0, sums are kept, remainders decide."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.deployment.targets.apportionment import finest, too_small, whole

PROPERTY = settings(deadline=None, derandomize=True)
WEIGHTS = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-9, 1.0), st.sampled_from([0.5, 0.1, 1 / 3])),
    min_size=1,
    max_size=64,
).filter(any)


@PROPERTY
@given(WEIGHTS, st.sampled_from([100, 10_000, 1_000_000]))
def test_whole_numbers(weights: list[float], total: int) -> None:
    numbers = whole(weights, total)
    assert sum(numbers) == total
    for weight, number in zip(weights, numbers, strict=True):
        exact = Fraction(weight) * total / sum(map(Fraction, weights))
        assert abs(number - exact) < 1
        assert number == 0 or weight > 0
        if exact.denominator == 1:
            assert number == exact
    # More never gets less.
    by_weight = sorted(zip(weights, numbers, strict=True))
    assert all(a[1] <= b[1] for a, b in pairwise(by_weight) if a[0] < b[0])


@PROPERTY
@given(WEIGHTS)
def test_what_would_vanish_is_named(weights: list[float]) -> None:
    numbers = whole(weights, 100)
    vanished = {i for i, w in enumerate(weights) if w > 0 and numbers[i] == 0}
    assert set(too_small(weights, 100)) == vanished


@PROPERTY
@given(st.integers(0, 10_000))
def test_the_finest_numbers_are_exact_where_they_can_be(part: int) -> None:
    first, second = finest([part / 10_000, 1 - part / 10_000], 1_000_000)
    assert Fraction(first, first + second) == Fraction(part, 10_000)
    assert first + second in (100, 1_000, 10_000)


@pytest.mark.parametrize(
    ("weights", "numbers"),
    [
        ([1.0], [100]),
        ([0.0, 1.0], [0, 100]),
        ([0.5, 0.5], [50, 50]),
        ([1 / 3] * 3, [34, 33, 33]),
        ([0.996, 0.004], [100, 0]),
        ([0.9, 0.1], [90, 10]),
    ],
)
def test_known_splits(weights: list[float], numbers: list[int]) -> None:
    assert whole(weights, 100) == numbers
