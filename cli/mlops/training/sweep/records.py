"""What a sweep is, what its trials are, and its state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlops.spec.model import ModelVersion
from mlops.spec.short_repr import short_repr
from mlops.training.environment import Difference
from mlops.training.search_space import Axis

SamplerName = Literal["grid", "random", "tpe"]
Direction = Literal["minimize", "maximize"]
#: `interrupted` is one that was stopped; it runs again when the sweep is resumed.
State = Literal["running", "complete", "pruned", "failed", "interrupted"]

#: States that are results: such a trial is never run again.
SETTLED: frozenset[State] = frozenset({"complete", "pruned", "failed"})


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How the runs of a sweep are made.

    Attributes:
        sampler: How points are chosen; empty means a grid if there is an axis, else no sweep.
        trials: How many trials a sampler makes; 0 means 20, a grid makes all of its points.
        metric: What is best; may be empty for a grid.
        direction: Whether less of it or more is better.
        jobs: How many trials run at a time.
        seed: Of the sampler; None draws one.
        prune: Whether hopeless trials are stopped; None means those of a sampler.
        resume: The parent run to continue with, `last` for the newest; empty for a new sweep.
        best: Whether the winner is registered.
        html: File for a page about the sweep; empty for none.
    """

    sampler: SamplerName | Literal[""] = ""
    trials: int = 0
    metric: str = ""
    direction: Direction = "minimize"
    jobs: int = 1
    seed: int | None = None
    prune: bool | None = None
    resume: str = ""
    best: bool = False
    html: str = ""

    @property
    def asked_for(self) -> bool:
        """Whether it is a sweep whatever the parameters are."""
        return bool(self.sampler or self.resume)


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A resolved sweep: enough to continue with it after the process that began it is gone.

    Attributes:
        entry_point: What is run.
        given: Parameters that all trials share.
        axes: Parameters that vary.
        sampler: How points are chosen.
        trials: How many there are in all.
        seed: Of the sampler.
        metric: What is best; may be empty.
        direction: Whether less of it or more is better.
        prune: Whether hopeless trials are stopped.
        env_manager: Where the script finds its packages.
    """

    entry_point: str
    given: Mapping[str, str]
    axes: Mapping[str, Axis]
    sampler: SamplerName
    trials: int
    seed: int
    metric: str
    direction: Direction
    prune: bool
    env_manager: str

    def better(self, one: float, other: float) -> bool:
        """Whether one value of the metric is better than another."""
        return one < other if self.direction == "minimize" else one > other


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: From 1.
        name: Its point in words; the name of its run.
        point: The parameters that vary.
        run_id: Its run.
        state: Its state.
        value: The metric; None if it has none.
        metrics: Every metric's last value.
        duration_s: Wall time, in seconds; None while it runs.
        note: Why it failed, or where it was pruned.
    """

    number: int
    name: str
    point: Mapping[str, str]
    run_id: str
    state: State
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    duration_s: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """The state of a sweep, for display.

    Attributes:
        spec: The sweep.
        trials: Those that were begun, by number.
        changed: The one that ended last; None if none has.
    """

    spec: SweepSpec
    trials: tuple[TrialRecord, ...]
    changed: TrialRecord | None = None

    @property
    def best(self) -> TrialRecord | None:
        """The best completed trial."""
        return best_of(self.spec, self.trials)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        run_id: The parent run.
        experiment: Name of its experiment.
        status: Status of the parent run.
        sampler: How points were chosen.
        seed: Of the sampler; None for a grid.
        metric: What is best; empty if none was named.
        direction: Whether less of it or more is better.
        given: Parameters that all trials share.
        axes: Parameters that vary, as a command line has them.
        trials: By number.
        kept: How many of them were there before this command.
        best: The best of them; None without a metric or a completed trial.
        model: The registered version of the best, if it was asked for.
        alias: The alias that it carries now, if one was asked for.
        moved_from: The version that had the alias before, 0 if none.
        duration_s: Wall time of this command, in seconds.
        html: The page about it; None if none was asked for.
        environment: Packages that differ from what the project asks for.
        next_commands: What to do now, ready to be copied.
    """

    run_id: str
    experiment: str
    status: str
    sampler: SamplerName
    seed: int | None
    metric: str
    direction: Direction
    given: Mapping[str, str]
    axes: Mapping[str, str]
    trials: tuple[TrialRecord, ...]
    kept: int
    best: TrialRecord | None
    model: ModelVersion | None
    alias: str
    moved_from: int
    duration_s: float
    html: Path | None
    environment: tuple[Difference, ...]
    next_commands: tuple[str, ...]

    def __repr__(self) -> str:
        return short_repr(
            self,
            run_id=self.run_id,
            trials=len(self.trials),
            best=self.best.name if self.best else None,
            model=self.model.label if self.model else None,
            alias=self.alias,
        )

    @property
    def failed(self) -> bool:
        """Whether no trial at all gave a result."""
        return not any(trial.state in ("complete", "pruned") for trial in self.trials)


def best_of(spec: SweepSpec, trials: tuple[TrialRecord, ...]) -> TrialRecord | None:
    """Return the completed trial with the best value, the first of equals."""
    best: TrialRecord | None = None
    for trial in trials:
        if trial.state != "complete" or trial.value is None or not math.isfinite(trial.value):
            continue
        if best is None or best.value is None or spec.better(trial.value, best.value):
            best = trial
    return best if spec.metric else None


def name_of(point: Mapping[str, str]) -> str:
    """Return a point as the name of a run.

    >>> name_of({"alpha": "0.1", "l1_ratio": "0.5"})
    'alpha=0.1 l1_ratio=0.5'
    """
    return " ".join(f"{name}={value}" for name, value in point.items())
