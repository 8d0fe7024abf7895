"""Rewards that make verdicts hard: rare, heavy-tailed, or spoilt by rare mistakes."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from verdicts import squared_errors

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def conversion(rate: float) -> Draw:
    return lambda rng, shape: (rng.random(shape) < rate).astype(np.float64)


def squared_error(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    pool = squared_errors()[0]
    drawn: Floats = pool[rng.integers(0, pool.size, shape)]
    return drawn


def mistyped(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """One truth in 1,000 is ten times too large: 56 for a quality of 5.6."""
    spoilt: Floats = np.where(rng.random(shape) < 1e-3, -(50.4**2), squared_error(rng, shape))
    return spoilt


def margin(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """A margin of about 1, of which one in 1,000 loses 100."""
    return rng.normal(1.0, 0.3, shape) - 100.0 * (rng.random(shape) < 1e-3)


def baskets(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Baskets of about 20, one in 1,000 of 2,000."""
    found: Floats = np.where(rng.random(shape) < 1e-3, 2000.0, rng.lognormal(3.0, 0.5, shape))
    return found


def revenue(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """97 % buy nothing."""
    found: Floats = np.where(rng.random(shape) < 0.03, rng.lognormal(3.0, 1.0, shape), 0.0)
    return found


REWARDS: dict[str, Draw] = {
    "conversion 1 %": conversion(0.01),
    "conversion 5 %": conversion(0.05),
    "squared error": squared_error,
    "squared error, mistyped": mistyped,
    "margin, rare losses": margin,
    "baskets": baskets,
    "revenue, 97 % zeros": revenue,
    "lognormal, sigma 2": lambda rng, shape: rng.lognormal(0.0, 2.0, shape),
    "t, 3 df": lambda rng, shape: rng.standard_t(3, shape),
}

#: Standard deviations, by which lifts and shifts are scaled; of 10^7 draws where need be.
DEVIATIONS: dict[str, float] = {
    "conversion 1 %": 0.0995,
    "conversion 5 %": 0.218,
    "squared error": 0.90,
    "squared error, mistyped": 80.3,
    "margin, rare losses": 3.18,
    "baskets": 63.5,
    "revenue, 97 % zeros": 9.2,
    "lognormal, sigma 2": 54.1,
    "t, 3 df": 1.73,
}
SHARES = {"50/50": 0.5, "80/20": 0.2, "95/5": 0.05, "99/1": 0.01}
