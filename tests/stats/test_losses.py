"""A mean loss above its limit is found, and one at the limit hardly ever."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mlops.stats.losses import LossTest


def largest(losses: np.ndarray[tuple[int], np.dtype[np.float64]], limit: float) -> float:
    return max(value for _, value in LossTest(limit).take(losses))


@pytest.mark.parametrize("kind", ["rare", "squares", "heavy"])
def test_at_the_limit_alarms_are_as_rare_as_promised(kind: str) -> None:
    alpha, runs, alarms = 0.1, 300, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        losses = {
            "rare": lambda rng=rng: (rng.random(2_000) < 0.05) / 0.05,
            "squares": lambda rng=rng: rng.normal(size=2_000) ** 2,
            "heavy": lambda rng=rng: rng.pareto(1.5, 2_000) * 0.5,
        }[kind]()
        alarms += largest(losses, 1.0) >= 1 / alpha
    # Three standard errors above what is allowed.
    assert alarms <= runs * alpha + 3 * (runs * alpha * (1 - alpha)) ** 0.5
    assert kind == "heavy" or alarms > 0


@pytest.mark.parametrize(("calm", "within"), [(0, 400), (20_000, 1_500)])
def test_what_gets_worse_is_found(calm: int, within: int) -> None:
    rng = np.random.default_rng(3)
    losses = np.concatenate([rng.normal(size=calm) ** 2, rng.normal(0, 1.4, within) ** 2])
    found = [at for at, value in LossTest(1.1).take(losses) if value >= 200]
    assert found
    assert found[0] >= calm


def test_it_does_not_matter_how_losses_are_cut() -> None:
    losses = np.random.default_rng(1).exponential(size=137)
    whole = [value for _, value in LossTest(0.7).take(losses)]
    test, parts = LossTest(0.7), []
    for start in range(0, len(losses), 9):
        parts += [value for _, value in test.take(losses[start : start + 9])]
        test = LossTest.restored(json.loads(json.dumps(test.document())))
    assert parts == whole


def test_a_limit_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="positive"):
        LossTest(0.0)
