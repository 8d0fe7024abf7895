"""A mean over all rows from few labels: known value, closed form, coverage, and what it gains."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops.stats.prediction_powered import FITTED, Proxy, Sums, fit_proxy, powered_mean

Floats = NDArray[np.float64]
ALPHA, PPI_PY = 0.1, 0.52114376


def fixed(slope: float, intercept: float) -> Proxy:
    one = np.ones(1)
    return Proxy(np.zeros(1), one, slope * one, intercept, 0.0, 1.0, bounded=True)


def test_the_estimate_is_that_of_ppi_py() -> None:
    rng = np.random.default_rng(3)
    p = rng.beta(0.3, 0.3, 5_000)
    y = (rng.random(5_000) < p).astype(float)
    g = fixed(0.8, 0.1)(p[:, None])
    found = powered_mean(fixed(0.8, 0.1), Sums.of(g[300:], 0.1), g[:300], y[:300], 0.05)
    # `ppi_mean_pointestimate(y[:300], g[:300], g[300:], lam=1)` of ppi_py 0.2.3.
    assert found.value[0] == pytest.approx(PPI_PY, abs=1e-8)
    assert found.value[0] == pytest.approx(g[300:].mean() + (y[:300] - g[:300]).mean(), rel=1e-12)
    assert found.lower[0] < PPI_PY < found.upper[0]


def test_the_proxy_is_ridge_regression_and_given_up_where_it_is_worth_nothing() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(FITTED, 1))
    losses = np.clip(0.5 + 0.2 * x[:, 0], 0, 1)
    strong = fit_proxy(x, losses, (0.0, 1.0), 0.01)
    assert not strong.is_constant
    assert np.abs(strong(x) - losses).max() < 0.02
    assert fit_proxy(x, rng.random(FITTED), (0.0, 1.0), 0.01).is_constant
    # A proxy that is worth its price where labels are rare is not where every row has one.
    noisy = np.clip(losses + rng.normal(0, 0.18, FITTED), 0, 1)
    assert not fit_proxy(x, noisy, (0.0, 1.0), 0.001).is_constant
    assert fit_proxy(x, noisy, (0.0, 1.0), 1.0).is_constant


def _truths(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    p = rng.beta(0.3, 0.3, n)
    return np.stack([p, p * (1 - p)], axis=1), (rng.random(n) < p).astype(float)


def _rare_errors(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    p = rng.beta(1, 60, n)
    return np.stack([p, p * (1 - p)], axis=1), (rng.random(n) < p).astype(float)


def _wrong_way(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    p = rng.beta(0.3, 0.3, n)
    return np.stack([p, p * (1 - p)], axis=1), (rng.random(n) >= p).astype(float)


def _heavy(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    f = rng.normal(size=n)
    return np.stack([f, f * f], axis=1), rng.standard_t(3, n) ** 2 * (1 + (f > 1))


@pytest.mark.parametrize(
    ("draw", "mean", "span"),
    [
        (_truths, 0.5, (0.0, 1.0)),
        (_rare_errors, 1 / 61, (0.0, 1.0)),
        (_wrong_way, 0.5, (0.0, 1.0)),
        (_heavy, 3 * (1 + 0.158655254), (0.0, None)),
    ],
)
def test_the_interval_holds_at_all_looks(
    draw: Callable[[np.random.Generator, int], tuple[Floats, Floats]],
    mean: float,
    span: tuple[float, float | None],
) -> None:
    runs, n, missed = 100, 20_000, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        x, losses = draw(rng, n)
        labelled = np.flatnonzero(rng.random(n) < 0.03)
        first, rest = labelled[:FITTED], labelled[FITTED:]
        proxy = fit_proxy(x[first], losses[first], span, 0.03)
        others = np.delete(np.arange(n), first)
        ends = np.unique(np.geomspace(1, len(rest), 40).astype(np.int64))
        seen = np.searchsorted(others, rest[ends - 1]) + 1
        found = powered_mean(
            proxy, Sums.of(proxy(x[others]), proxy.intercept, seen), proxy(x[rest]), losses[rest],
            ALPHA, ends,
        )  # fmt: skip
        missed += bool(((found.lower > mean) | (found.upper < mean)).any())
    # Three standard errors above alpha.
    assert missed <= runs * (ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs))


def test_answers_that_tell_the_truth_make_it_narrower() -> None:
    rng = np.random.default_rng(7)
    x, truths = _truths(rng, 100_000)
    labelled = np.flatnonzero(rng.random(len(x)) < 0.01)
    first, rest = labelled[:FITTED], labelled[FITTED:]
    proxy = fit_proxy(x[first], truths[first], (0.0, 1.0), 0.01)
    plain = fit_proxy(x[first] * 0, truths[first], (0.0, 1.0), 0.01)
    widths = []
    for each in (proxy, plain):
        guesses = each(np.delete(x, first, axis=0) * (each is proxy))
        # As they come from a journal: in parts.
        parts = np.array_split(guesses, 7)
        every = Sums.of(parts[0], each.intercept)
        for part in parts[1:]:
            every += Sums.of(part, each.intercept)
        found = powered_mean(each, every, each(x[rest] * (each is proxy)), truths[rest], 0.05)
        widths.append(float(found.upper[0] - found.lower[0]))
    assert widths[0] < 0.85 * widths[1]
