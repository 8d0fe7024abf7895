"""Statistics of several numbers: what they are, and that their reference is exchangeable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops.stats.exchangeability import Exchangeability, cut
from mlops.stats.joint import ALL, Joint, joint_features

Floats = NDArray[np.float64]


def table(rng: np.random.Generator, n: int, correlation: float) -> dict[str, Floats]:
    a, b, c = rng.normal(size=(3, n))
    b = correlation * a + math.sqrt(1 - correlation**2) * b
    # Scales and centres do not matter.
    return {"a": 1e6 + a, "b": 1e-6 * b, "c": np.exp(c)}


def test_a_pair_is_a_product_and_all_a_distance() -> None:
    pair = Joint(("a", "b"), (1.0, 2.0), (2.0, 1.0), ((0.0, 0.5), (0.5, 0.0)))
    a, b = np.array([3.0, 1.0, np.nan, 1e9]), np.array([5.0, 9.0, 1.0, 3.0])
    # Standardised 1, 0, nothing, 4 (clipped) and 3, 4 (clipped), -1, 1.
    assert pair.values([a, b]) == pytest.approx([3.0, 0.0, np.nan, 4.0], nan_ok=True)
    found = joint_features(table(np.random.default_rng(1), 4_000, 0.8), 2_000)
    assert set(found) == {"a & b", "a & c", "b & c", ALL}
    # Of four thousand rows half are the reference.
    assert all(each.profile.count == 2_000 for each in found.values())
    mean = np.mean(found["a & b"].profile.numbers.sample)  # type: ignore[union-attr]
    assert mean == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"a": np.arange(500.0)},
        {"a": np.arange(50.0), "b": np.arange(50.0)},
        {"a": np.zeros(500), "b": np.arange(500.0)},
        {str(at): np.arange(500.0) for at in range(51)},
        {"a": np.full(500, np.nan), "b": np.arange(500.0)},
    ],
)
def test_what_has_no_correlations_has_no_statistics(columns: dict[str, Floats]) -> None:
    assert joint_features(columns, 100) == {}


def test_constants_copies_and_gaps_do_no_harm() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=600)
    rare = np.where(rng.random(600) < 0.05, 1.0, 0.0)
    gaps = np.where(rng.random(600) < 0.2, np.nan, a)
    gaps[:3] = np.inf
    found = joint_features({"a": a, "copy": a, "rare": rare, "gaps": gaps}, 1_000)
    assert len(found) == 7
    assert found["a & gaps"].profile.missing > 30
    for each in found.values():
        assert np.isfinite(each.statistic.form).all()


def test_missing_values_cost_no_more_than_they_must() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 20_000))
    b = 0.8 * a + 0.6 * b
    # A number that is hardly ever known is left out.
    rare = np.where(np.arange(20_000) < 160, a, np.nan)
    assert set(joint_features({"a": a, "b": b, "rare": rare}, 100)) == {"a & b"}
    # Of many with gaps no row has all.
    many = {str(at): rng.normal(size=2_000) for at in range(45)}
    many |= {"a": a[:2_000], "b": b[:2_000]}
    many = {name: np.where(rng.random(2_000) < 0.15, np.nan, x) for name, x in many.items()}
    found = joint_features(many, 100)
    assert len(found) == 10
    assert next(iter(found)) == "a & b"
    assert ALL not in found


def e_value(training: dict[str, Floats], live: dict[str, Floats], name: str) -> float:
    each = joint_features(training, 10_000)[name]
    values = each.statistic.values([live[column] for column in each.statistic.columns])
    assert each.profile.numbers is not None
    bins = cut(np.array(each.profile.numbers.sample), 1)
    place = bins.place(values, np.random.default_rng(2).random(len(values)))
    test, start, largest = Exchangeability(bins.gaps), 0, 1.0
    while start + test.size <= len(place):
        end = start + test.size
        counts = np.bincount(place[start:end], minlength=len(bins.gaps)).astype(float)
        largest, start = max(largest, test.take(counts)), end
    return largest


def test_a_correlation_that_changes_is_found_and_none_that_does_not() -> None:
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        training, live = table(rng, 600, 0.7), table(rng, 3_000, 0.7)
        alarms += max(e_value(training, live, name) for name in ("a & b", ALL)) >= 20
    # At 2 / 20 each, three standard errors above.
    assert alarms <= 60 * 0.1 + 3 * math.sqrt(60 * 0.1 * 0.9)
    rng = np.random.default_rng(99)
    training = table(rng, 2_000, 0.7)
    broken, come = table(rng, 1_500, 0.2), table(rng, 1_500, 0.7)
    come["c"] = np.exp((come["a"] - 1e6) * 0.5 + 0.86 * np.log(come["c"]))
    assert e_value(training, broken, "a & b") > 1e4
    assert e_value(training, broken, ALL) > 1e4
    assert e_value(training, come, "a & c") > 1e4
