"""Sampling and pruning, without any run: what is asked, and what it is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from mlops.training.search_space import Axis
from mlops.training.sweep.records import SweepSpec, TrialRecord, best_of, name_of
from mlops.training.sweep.samplers import CHOOSERS, Sampler, chooser_of

AXES = {
    "alpha": Axis("alpha", (), 0.001, 10.0, log=True),
    "depth": Axis("depth", (), 1, 9, whole=True),
    "net": Axis("net", ("a", "b")),
}
SPEC = SweepSpec(
    entry_point="main",
    given={},
    axes=AXES,
    sampler="tpe",
    trials=40,
    seed=7,
    metric="loss",
    direction="minimize",
    prune=True,
    env_manager="local",
)


def _loss(point: Mapping[str, str]) -> float:
    away = math.log10(float(point["alpha"]) / 0.1) ** 2 + (int(point["depth"]) - 4) ** 2 / 10
    return away + (point["net"] == "b")


def _done(number: int, point: Mapping[str, str], value: float | None = None) -> TrialRecord:
    value = _loss(point) if value is None else value
    return TrialRecord(number, name_of(point), point, f"run{number}", "complete", value)


def _drive(chooser: Sampler, first: int, last: int) -> list[TrialRecord]:
    trials = []
    for number in range(first, last + 1):
        trials.append(_done(number, chooser.begin(number, None)))
        chooser.tell(trials[-1], ())
    return trials


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_seed_gives_the_same_trials_also_when_it_goes_on(sampler: str) -> None:
    spec = replace(SPEC, sampler=sampler)  # type: ignore[arg-type]
    whole = _drive(chooser_of(spec), 1, 25)
    assert whole == _drive(chooser_of(spec), 1, 25)
    assert whole != _drive(chooser_of(replace(spec, seed=8)), 1, 25)
    # Another process: told of what was done, it goes on as the first would have.
    other = chooser_of(spec)
    for trial in whole[:15]:
        other.tell(trial, ())
    assert _drive(other, 16, 25) == whole[15:]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_points_lie_within_the_axes(sampler: str) -> None:
    for trial in _drive(chooser_of(replace(SPEC, sampler=sampler)), 1, 30):  # type: ignore[arg-type]
        assert 0.001 <= float(trial.point["alpha"]) <= 10
        assert 1 <= int(trial.point["depth"]) <= 9
        assert trial.point["net"] in ("a", "b")


def test_tpe_finds_more_than_chance_does() -> None:
    """The median of nine seeds, so that luck does not decide."""

    def median(sampler: str) -> float:
        best = []
        for seed in range(9):
            spec = replace(SPEC, sampler=sampler, seed=seed)  # type: ignore[arg-type]
            best.append(min(t.value or 0.0 for t in _drive(chooser_of(spec), 1, 40)))
        return sorted(best)[4]

    assert median("tpe") < median("random") / 2


def test_an_interrupted_trial_has_its_point_again() -> None:
    chooser = chooser_of(SPEC)
    point = {"alpha": "0.5", "depth": "3", "net": "b"}
    assert chooser.begin(1, point) == point
    chooser.tell(_done(1, point), ())
    assert chooser.begin(2, None) != point


def _pruner(*, direction: str = "minimize") -> Sampler:
    """Return a chooser that knows five trials of ten steps, with values 1 to 5 throughout."""
    grid = Axis("size", tuple(map(str, range(1, 9))))
    chooser = chooser_of(
        replace(SPEC, sampler="grid", axes={"size": grid}, direction=direction)  # type: ignore[arg-type]
    )
    for number in range(1, 6):
        point = chooser.begin(number, None)
        steps = [(step, float(number)) for step in range(10)]
        chooser.tell(_done(number, point, float(number)), steps)
    chooser.begin(6, None)
    return chooser


@pytest.mark.parametrize(
    ("direction", "value", "hopeless"),
    [("minimize", 9.0, True), ("minimize", 2.0, False), ("maximize", 2.0, True),
     ("maximize", 9.0, False)],
)  # fmt: skip
def test_what_is_worse_than_the_median_is_hopeless(
    direction: str, value: float, hopeless: bool
) -> None:
    chooser = _pruner(direction=direction)
    assert not chooser.hopeless(6, [(0, value)])
    assert chooser.hopeless(6, [(0, value), (1, value)]) is hopeless


def test_a_single_value_and_a_last_step_are_no_reason_to_stop() -> None:
    chooser = _pruner()
    assert not chooser.hopeless(6, [])
    assert not chooser.hopeless(6, [(0, 99.0)])
    assert not chooser.hopeless(6, [(step, 99.0) for step in range(10)])


def test_nothing_is_hopeless_while_little_is_known() -> None:
    chooser = chooser_of(SPEC)
    point = chooser.begin(1, None)
    chooser.tell(_done(1, point, 1.0), [(step, 1.0) for step in range(10)])
    chooser.begin(2, None)
    assert not chooser.hopeless(2, [(0, 9.0), (1, 9.0)])


def test_failed_and_pruned_trials_are_told_too() -> None:
    chooser = chooser_of(SPEC)
    point = chooser.begin(1, None)
    chooser.tell(replace(_done(1, point), state="failed", value=None), ())
    point = chooser.begin(2, None)
    chooser.tell(replace(_done(2, point), state="pruned"), [(0, 3.0), (1, 2.0)])
    chooser.tell(replace(_done(3, point), state="interrupted"), ())
    assert chooser.begin(4, None)


def test_the_best_is_the_first_of_the_best() -> None:
    point = {"x": "1"}
    trials = (
        _done(1, point, 2.0),
        _done(2, point, 1.0),
        _done(3, point, 1.0),
        replace(_done(4, point, 0.0), state="pruned"),
        _done(5, point, math.nan),
    )
    best = best_of(SPEC, trials)
    assert best is not None
    assert best.number == 2
    best = best_of(replace(SPEC, direction="maximize"), trials)
    assert best is not None
    assert best.number == 1
    assert best_of(replace(SPEC, metric=""), trials) is None


def test_every_name_of_the_table_can_be_loaded() -> None:
    assert [CHOOSERS.load(name) for name in CHOOSERS]
