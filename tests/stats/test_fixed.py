"""One-look intervals and planning, against statsmodels and by hand."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from mlops.stats.fixed import (
    Sample,
    power,
    sample_size,
    welch_interval,
    wilson_interval,
)
from tests.stats.tolerance import fewest, most


def test_welch_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1, 1, 30), rng.normal(0, 3, 50)

    found = welch_interval(
        Sample(30, float(ours.mean()), float(ours.var(ddof=1))),
        Sample(50, float(theirs.mean()), float(theirs.var(ddof=1))),
    )

    expected = CompareMeans(DescrStatsW(ours), DescrStatsW(theirs)).tconfint_diff(usevar="unequal")
    assert (found.lower, found.upper) == pytest.approx(expected)


def test_welch_of_equal_samples_by_hand() -> None:
    found = welch_interval(Sample(10, 2.0, 1.0), Sample(10, 1.0, 1.0))

    width = stats.t.ppf(0.975, 18) * math.sqrt(0.2)
    assert found.upper == pytest.approx(1 + width)


def test_welch_without_variation_is_a_point() -> None:
    assert welch_interval(Sample(5, 1.0, 0.0), Sample(5, 0.0, 0.0)).upper == 1.0


def test_welch_needs_two_outcomes_per_arm() -> None:
    with pytest.raises(ValueError, match="two outcomes"):
        welch_interval(Sample(1, 1.0, 0.0), Sample(5, 0.0, 0.0))


def test_welch_covers() -> None:
    runs = 2000
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0, 1, (runs, 20)), rng.normal(0, 2, (runs, 8))

    missed = 0
    for one, other in zip(ours, theirs, strict=True):
        found = welch_interval(
            Sample(20, one.mean(), one.var(ddof=1)), Sample(8, other.mean(), other.var(ddof=1))
        )
        missed += not found.lower <= 0 <= found.upper

    assert fewest(runs, 0.035) <= missed <= most(runs, 0.06)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (120, 1000)])
def test_wilson_agrees_with_statsmodels(successes: int, n: int) -> None:
    found = wilson_interval(successes, n)

    expected = proportion_confint(successes, n, method="wilson")
    assert (found.lower, found.upper) == pytest.approx(expected, abs=1e-12)


def test_wilson_of_nothing_is_everything() -> None:
    found = wilson_interval(0, 0)

    assert (found.lower, found.upper) == (0.0, 1.0)
    assert math.isnan(found.estimate)


def test_wilson_of_impossible_counts_is_an_error() -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(11, 10)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_power_agrees_with_statsmodels(share: float) -> None:
    n = 1000
    expected = NormalIndPower().power(0.2, n * share, 0.05, ratio=(1 - share) / share)

    assert power(0.2, (1.0, 1.0), n, share=share) == pytest.approx(expected)


def test_power_by_simulation() -> None:
    runs, n = 4000, 200
    rng = np.random.default_rng(2)
    gaps = rng.normal(0.4, math.sqrt(1 / 60 + 4 / 140), runs)

    found = (np.abs(gaps) > stats.norm.ppf(0.975) * math.sqrt(1 / 60 + 4 / 140)).sum()

    promised = power(0.4, (1.0, 4.0), n, share=0.3)
    assert fewest(runs, promised) <= found <= most(runs, promised)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_sample_size_gives_the_power(share: float) -> None:
    n = sample_size(0.1, (1.0, 2.0), share=share)

    assert power(0.1, (1.0, 2.0), n, share=share) == pytest.approx(0.9, abs=1e-3)


def test_no_sample_finds_nothing() -> None:
    with pytest.raises(ValueError, match="effect of 0"):
        sample_size(0.0, (1.0, 1.0))
