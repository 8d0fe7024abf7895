"""The test of drift: exact where that can be computed, and simulated over hard cases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import betaln, comb

from mlops.stats import exchangeability
from mlops.stats.exchangeability import MAX_BINS, Exchangeability, cut

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

_DRAWS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "rare": lambda rng, n: (rng.random(n) < 0.02).astype(float),
    "constant": lambda _, n: np.zeros(n),
    "counts": lambda rng, n: rng.poisson(3, n).astype(float),
    "many categories": lambda rng, n: np.minimum(rng.zipf(1.5, n), 1000).astype(float),
    "half missing": lambda rng, n: np.where(rng.random(n) < 0.5, np.inf, rng.normal(size=n)),
}


def follow(reference: Floats, live: Floats, rng: np.random.Generator) -> Floats:
    """Return the e-value after each block."""
    bins = cut(reference, int(rng.integers(1 << 30)))
    test = Exchangeability(bins.gaps)
    place = bins.place(live, rng.random(len(live)))
    path, at = [], 0
    while at + test.size <= len(live):
        size = test.size
        path.append(test.take(counts(place[at : at + size], bins.gaps.size)))
        at += size
    return np.array(path)


def counts(place: NDArray[np.int64], kinds: int) -> Floats:
    return np.bincount(place, minlength=kinds).astype(float)


def test_the_mean_is_one_over_all_that_can_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchangeability, "_LEAST_BLOCK", 12)
    gaps = np.array([3.0, 5.0])
    mean, likely = 0.0, 0.0
    for first, second in itertools.product(range(13), repeat=2):
        test = Exchangeability(gaps)
        test.take(np.array([first, 12.0 - first]))
        value = test.take(np.array([second, 12.0 - second]))
        # Beta-binomial, twice: the urn by another name.
        p = comb(12, first) * math.exp(betaln(3 + first, 17 - first) - betaln(3, 5))
        a, b = 3 + first, 5 + 12 - first
        p *= comb(12, second) * math.exp(betaln(a + second, b + 12 - second) - betaln(a, b))
        mean, likely = mean + p * value, likely + p
    assert likely == pytest.approx(1, abs=1e-12)
    assert mean == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", _DRAWS)
def test_bins_are_drawn_from_the_urn(name: str) -> None:
    rng = np.random.default_rng(7)
    observed: Floats = np.zeros(MAX_BINS)
    expected: Floats = np.zeros(MAX_BINS)
    for seed in range(2_000):
        bins = cut(_DRAWS[name](rng, 30), seed)
        place = bins.place(_DRAWS[name](rng, 1), rng.random(1))
        observed[place[0] % MAX_BINS] += 1
        expected[: bins.gaps.size] += bins.gaps / bins.gaps.sum()
    deviation = np.sqrt(np.maximum(expected, 1))
    assert np.abs((observed - expected) / deviation).max() < 4.5


def test_bins_have_all_gaps_and_a_place_for_what_never_was() -> None:
    bins = cut(np.arange(1_000.0))
    assert bins.gaps.sum() == 1_001
    assert len(bins.gaps) <= MAX_BINS
    place = bins.place(np.array([-5.0, 0.5, 999.5, np.inf]), np.zeros(4))
    assert place.tolist() == [0, 1, len(bins.gaps) - 1, len(bins.gaps) - 1]
    assert bins.gaps[0] == bins.gaps[-1] == 1


@pytest.mark.parametrize("name", _DRAWS)
def test_without_a_change_it_seldom_alarms(name: str) -> None:
    rng = np.random.default_rng(11)
    draw = _DRAWS[name]
    peaks = np.array(
        [
            follow(draw(rng, int(rng.choice([20, 300, 2_000]))), draw(rng, 3_000), rng).max()
            for _ in range(60)
        ]
    )
    # By Ville at most 6 of 60 in the mean; seeds are fixed.
    assert (peaks >= 10).sum() <= 12
    assert (peaks >= 200).sum() <= 2


@pytest.mark.parametrize("before", [0, 20_000])
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("normal", lambda rng, n: rng.normal(0.5, 1, n)),
        ("normal", lambda rng, n: rng.normal(0, 1.6, n)),
        ("heavy tails", lambda rng, n: 1 + rng.standard_cauchy(n)),
        ("rare", lambda rng, n: (rng.random(n) < 0.08).astype(float)),
        ("constant", lambda rng, n: (rng.random(n) < 0.05).astype(float)),
        ("half missing", lambda rng, n: np.full(n, np.inf)),
        ("many categories", lambda rng, n: np.minimum(rng.zipf(2.0, n), 1000).astype(float)),
    ],
)
def test_a_change_is_found_whenever_it_comes(name: str, changed: Draw, before: int) -> None:
    rng = np.random.default_rng(5)
    draw = _DRAWS[name]
    live = np.concatenate([draw(rng, before), changed(rng, 3_000)])
    path = follow(draw(rng, 3_000), live, rng)
    assert path[-1] > 3_000
