"""Sampling and pruning by Optuna (https://optuna.readthedocs.io).

The study lives in memory and MLflow keeps what matters: a sweep that continues in another process
adds the existing runs to a new study. Every trial has a seed of its own, made from the sweep's
seed and the trial's number, so that what a later trial draws does not depend on how many of the
earlier ones this process has made.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from mlops.training.search_space import Axis, combinations
from mlops.training.sweep.records import SweepSpec, TrialRecord
from mlops.training.sweep.samplers import Steps

_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Study:
    """Random search, TPE, or a grid whose trials may be pruned.

    Args:
        spec: The sweep.

    Attributes:
        learns: Whether the point of a trial depends on what came of those before it.
    """

    def __init__(self, spec: SweepSpec) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._spec = spec
        self.learns = spec.sampler == "tpe"
        self._space = {name: _distribution(axis) for name, axis in spec.axes.items()}
        self._grid = combinations(list(spec.axes.values())) if spec.sampler == "grid" else []
        self._study = optuna.create_study(
            direction=spec.direction, pruner=optuna.pruners.MedianPruner()
        )
        self._open: dict[int, optuna.Trial] = {}
        self._reported: dict[int, int] = {}
        self._last_step = -1

    def begin(self, number: int, point: Mapping[str, str] | None) -> Mapping[str, str]:
        """Ask the study, or record a given point."""
        if self._grid:
            point = point or self._grid[number - 1]
        self._study.sampler = self._sampler(number)
        if point is not None:
            self._study.enqueue_trial(self._values(point))
        trial = self._study.ask(self._space)
        self._open[number] = trial
        return point or {name: _text(self._spec.axes[name], v) for name, v in trial.params.items()}

    def hopeless(self, number: int, steps: Steps) -> bool:
        """Ask the median rule, once the script is known to log steps.

        A single value is not a curve: many scripts log their metric once, at the end. And a trial
        that has reached the last step of the completed ones is nearly done.
        """
        trial = self._open[number]
        if len(steps) < 2:
            return False
        for step, value in steps[self._reported.get(number, 0) :]:
            trial.report(value, step)
        self._reported[number] = len(steps)
        return bool(steps[-1][0] < self._last_step and trial.should_prune())

    def tell(self, trial: TrialRecord, steps: Steps) -> None:
        """Give the study a trial, with its steps."""
        asked = self._open.pop(trial.number, None)
        if asked is not None:
            self._study.tell(asked, state=TrialState.FAIL)
        if trial.state not in _STATES:
            return
        if trial.state == "complete" and steps:
            self._last_step = max(self._last_step, steps[-1][0])
        # A fresh one in place of the asked one, whose point is exactly that of the run; so the
        # study is the same as one to which runs are added later.
        complete = trial.state == "complete"
        self._study.add_trial(
            optuna.trial.create_trial(
                params=self._values(trial.point),
                distributions=self._space,
                state=_STATES[trial.state],
                value=trial.value if complete else None,
                intermediate_values=dict(steps) if len(steps) > 1 else {},
            )
        )

    def _sampler(self, number: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([self._spec.seed, number]).generate_state(1)[0])
        if self._spec.sampler == "tpe":
            # Running trials count as bad ones, so that parallel ones do not cluster.
            return TPESampler(seed=seed, constant_liar=True)
        return RandomSampler(seed=seed)

    def _values(self, point: Mapping[str, str]) -> dict[str, str | float | int]:
        return {name: _value(self._spec.axes[name], text) for name, text in point.items()}


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.values:
        return CategoricalDistribution(axis.values)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _text(axis: Axis, value: str | float | int) -> str:
    """Write a drawn value with six digits."""
    if isinstance(value, str) or axis.whole:
        return str(value)
    text = f"{value:.6g}"
    return text if axis.low <= float(text) <= axis.high else repr(value)


def _value(axis: Axis, text: str) -> str | float | int:
    if axis.values:
        return text
    return int(text) if axis.whole else float(text)
