"""Effects over time, rhythms of traffic, and pauses."""

import numpy as np
import pytest

from mlops.stats.time_effect import cycle, effect_over_time
from tests.stats.tolerance import fewest, most


def days(effects: np.ndarray, runs: int, seed: int, per_day: int = 400) -> list[tuple]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    scores = rng.normal(effects[:, None], 2.0, (runs, effects.size, per_day))
    spread = ((scores - scores.mean(axis=(1, 2), keepdims=True)) ** 2).sum(axis=2)
    return [
        (s.sum(axis=1), np.full(effects.size, per_day), v)
        for s, v in zip(scores, spread, strict=True)
    ]


def test_a_constant_effect_rarely_alarms() -> None:
    runs = 400

    found = [effect_over_time(*x) for x in days(np.full(28, 0.3), runs, 0)]

    assert sum(each.changes for each in found) <= most(runs, 0.05)
    # 0.3 is 16 standard errors here: half of it is always left.
    assert not any(each.fades for each in found)


@pytest.mark.parametrize(
    "effects",
    [0.9 * 0.5 ** (np.arange(28) / 5) - 0.3, np.where(np.arange(28) % 7 < 5, 0.4, -0.4)],
    ids=["novelty", "weekends"],
)
def test_a_changing_effect_is_seen_within_four_weeks(effects: np.ndarray) -> None:
    runs = 50

    found = [effect_over_time(*x) for x in days(effects, runs, 1)]

    assert sum(each.changes for each in found) >= fewest(runs, 0.9)


def test_an_effect_fades_before_that_is_proved() -> None:
    totals = np.array([1.4, 1.2, 0.2, 0.1])
    found, opposite = (effect_over_time(sign * totals, *np.ones((2, 4))) for sign in (1, -1))

    assert not found.changes
    assert (found.fades, opposite.fades) == (True, True)
    assert not effect_over_time(totals[::-1], *np.ones((2, 4))).fades


def test_the_two_halves_are_told() -> None:
    found = effect_over_time(np.array([1.0, 3.0]), np.array([1.0, 2.0]), np.array([1.0, 1.0]))

    assert (found.early, found.late) == (1.0, 1.5)
    assert effect_over_time(*(np.array([1.0]) for _ in range(3))).p_value == 1.0


def counts(hours: int, day: float, week: float, seed: int = 0) -> np.ndarray:
    t = np.arange(hours)
    rate = 100 * (1 + day * np.sin(2 * np.pi * t / 24) + week * np.sin(2 * np.pi * t / 168))
    return np.random.default_rng(seed).poisson(rate)


@pytest.mark.parametrize(
    ("hours", "day", "week", "expected"),
    [
        (400, 0.5, 0.3, "week"),
        (400, 0.5, 0.0, "day"),
        (60, 0.5, 0.3, "day"),
        (40, 0.5, 0.3, None),
        (400, 0.0, 0.0, None),
    ],
)
def test_rhythms(hours: int, day: float, week: float, expected: str | None) -> None:
    assert cycle(counts(hours, day, week)) == expected


def test_even_traffic_rarely_shows_a_rhythm() -> None:
    assert sum(cycle(counts(96, 0, 0, seed)) is not None for seed in range(300)) <= most(300, 0.001)
