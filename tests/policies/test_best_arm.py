"""The probability of being best: known values, other integrators, and arms of any sharpness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from mlops.policies.best_arm import best_beta, best_student


def _closed_form(a1: int, b1: int, a2: int, b2: int) -> float:
    """P(arm 2 > arm 1) of Beta posteriors: Miller, "Formulas for Bayesian A/B testing" (2015)."""
    return float(
        sum(
            math.exp(
                special.betaln(a1 + i, b1 + b2)
                - math.log(b2 + i)
                - special.betaln(1 + i, b2)
                - special.betaln(a1, b1)
            )
            for i in range(a2)
        )
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, 1), (1, 1)), ((3, 7), (5, 5)), ((30, 970), (45, 955)), ((1, 1), (400, 600))],
)
def test_two_beta_arms_in_closed_form(one: tuple[int, int], other: tuple[int, int]) -> None:
    found = best_beta([one[0], other[0]], [one[1], other[1]])
    assert found[1] == pytest.approx(_closed_form(*one, *other), abs=1e-10)


def test_two_normal_arms_in_closed_form() -> None:
    found = best_student([1e9, 1e9], [0.3, 0.0], [0.2, 0.4])
    assert found[0] == pytest.approx(stats.norm.cdf(0.3 / math.hypot(0.2, 0.4)), abs=1e-7)


def test_five_arms_by_another_integrator() -> None:
    a, b = np.array([3.0, 40, 500, 12, 1]), np.array([5.0, 50, 700, 9, 1])

    def integrand(x: float, arm: int) -> float:
        others = [stats.beta.cdf(x, a[j], b[j]) for j in range(5) if j != arm]
        return float(stats.beta.pdf(x, a[arm], b[arm]) * np.prod(others))

    wanted = [integrate.quad(integrand, 0, 1, (arm,), limit=400)[0] for arm in range(5)]
    assert best_beta(a, b) == pytest.approx(wanted, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 7), st.floats(0.001, 0.999)), min_size=2, max_size=5))
def test_the_parts_make_a_whole(arms: list[tuple[float, float]]) -> None:
    n = np.array([10**size for size, _ in arms])
    rate = np.array([rate for _, rate in arms])
    shares = best_beta(1 + n * rate, 1 + n * (1 - rate))
    assert shares.sum() == pytest.approx(1, abs=1e-12)
    assert (shares >= 0).all()
    # Draws from the posteriors agree.
    drawn = np.random.default_rng(1).beta(1 + n * rate, 1 + n * (1 - rate), (20_000, len(n)))
    counts = np.bincount(drawn.argmax(axis=1), minlength=len(n)) / 20_000
    assert np.abs(counts - shares).max() < 5 * 0.5 / math.sqrt(20_000)


def test_equal_arms_share_alike() -> None:
    assert best_beta([7] * 4, [9] * 4) == pytest.approx([0.25] * 4, abs=1e-12)
    assert best_student([3] * 3, [1] * 3, [2] * 3) == pytest.approx([1 / 3] * 3, abs=1e-12)


@pytest.mark.parametrize(
    ("won", "asked"),
    [
        ((11, 149, 1), (85, 752, 23)),
        ((46, 116, 3), (390, 802, 68)),
        ((552, 75, 24), (3_388, 498, 214)),
        ((0, 1_000_000), (5, 1_000_000)),
    ],
)
def test_probabilities_next_to_nothing_are_numbers(
    won: tuple[int, ...], asked: tuple[int, ...]
) -> None:
    """SciPy has no quantile of a denormal probability."""
    s, n = np.array(won), np.array(asked)
    found = best_beta(1 + s, 1 + n - s)
    drawn = np.random.default_rng(2).beta(1 + s, 1 + n - s, (200_000, s.size)).argmax(axis=1)
    assert found == pytest.approx(np.bincount(drawn, minlength=s.size) / drawn.size, abs=0.01)
