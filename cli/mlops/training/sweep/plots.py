"""The plots of a sweep's page: their contents. Pure; `charts` draws them.

Positions are in per cent of a plot, the lines of parallel coordinates in units of its square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlops.charts import SIZE, Scale, Tick, covering, line, nice_numbers, number_labels, y_ticks
from mlops.training.sweep.records import SweepSpec, TrialRecord

#: Values that span such a factor, or more, are spread by factors.
_WIDE = 50
#: At most so many values of a parameter are named below its axis.
_NAMED = 7
_STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Dot:
    """One trial in a plot.

    Attributes:
        x: Per cent from the left.
        y: Per cent from the top.
        best: Whether it is the best.
        pruned: Whether it was stopped; its metric is that of its last step.
        says: Its text on hover.
    """

    x: float
    y: float
    best: bool
    pruned: bool
    says: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """The metric over one parameter.

    Attributes:
        name: The parameter.
        x: Ticks of the parameter.
        y: Ticks of the metric.
        dots: One per trial that has the metric, the best last, on top.
        log: Whether the parameter is spread by factors.
    """

    name: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    dots: tuple[Dot, ...]
    log: bool


@dataclass(frozen=True, slots=True)
class Course:
    """The metric over the trials, and the best so far.

    Attributes:
        x: Ticks of the trials' numbers.
        y: Ticks of the metric.
        dots: One per trial that has the metric.
        best: The step line of the best so far, in units of the square.
    """

    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    dots: tuple[Dot, ...]
    best: str


@dataclass(frozen=True, slots=True)
class Thread:
    """One trial in parallel coordinates.

    Attributes:
        path: Its line through every axis, in units of the square.
        best: Whether it is the best.
        rank: In [0, 1]; 0 is the best, 1 the worst.
        says: Its text on hover.
    """

    path: str
    best: bool
    rank: float
    says: str


@dataclass(frozen=True, slots=True)
class UprightAxis:
    """One axis of parallel coordinates.

    Attributes:
        name: What is on it.
        at: Per cent from the left.
        ticks: Its ticks.
    """

    name: str
    at: float
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """Every trial as a line through its values and its metric.

    Attributes:
        axes: The parameters, and last the metric.
        threads: The trials, the best last, on top.
    """

    axes: tuple[UprightAxis, ...]
    threads: tuple[Thread, ...]


@dataclass(frozen=True, slots=True)
class _Axis:
    """A parameter's values laid out; numbers evenly or by factors, texts side by side."""

    scale: Scale
    log: bool
    words: tuple[str, ...] = ()

    def place(self, value: str) -> float:
        """Position of a value on the scale."""
        if self.words:
            return float(self.words.index(value))
        return math.log10(float(value)) if self.log else float(value)

    def at(self, value: str) -> float:
        """Per cent from the left."""
        return self.scale.percent(self.place(value))


def scatters(
    spec: SweepSpec, trials: Sequence[TrialRecord], metric: str, best: TrialRecord | None
) -> tuple[Scatter, ...]:
    """Return a plot per parameter that varies."""
    shown = _shown(trials, metric)
    scale = covering(_values(shown, metric), zero=False)
    found = []
    for name in spec.axes if shown else ():
        having = [trial for trial in shown if name in trial.point]
        axis = _laid_out([trial.point[name] for trial in having], log=spec.axes[name].log)
        dots = [_dot(trial, axis.at(trial.point[name]), scale, metric, best) for trial in having]
        found.append(
            Scatter(
                name,
                _x_ticks(axis),
                y_ticks(scale, 5),
                tuple(sorted(dots, key=lambda dot: dot.best)),
                axis.log,
            )
        )
    return tuple(found)


def course(
    spec: SweepSpec, trials: Sequence[TrialRecord], metric: str, best: TrialRecord | None
) -> Course | None:
    """Return the metric over the trials; None if none has it."""
    shown = _shown(trials, metric)
    if not shown:
        return None
    across = Scale(0.5, max(trial.number for trial in trials) + 0.5)
    upright = covering(_values(shown, metric), zero=False)
    dots = [_dot(t, across.percent(t.number), upright, metric, best) for t in shown]
    corners: list[tuple[float, float]] = []
    so_far: float | None = None
    for trial in shown if spec.metric == metric else ():
        value = trial.metrics[metric]
        if trial.state == "complete" and (so_far is None or spec.better(value, so_far)):
            x = across.at(trial.number)
            corners += [(x, SIZE - upright.at(so_far))] if so_far is not None else []
            corners.append((x, SIZE - upright.at(value)))
            so_far = value
    if so_far is not None:
        corners.append((SIZE, SIZE - upright.at(so_far)))
    return Course(
        tuple(
            Tick(across.percent(n), f"{n:.0f}", minor=i % 2 == 1)
            for i, n in enumerate(_whole(nice_numbers(across, 8)))
        ),
        y_ticks(upright, 5),
        tuple(sorted(dots, key=lambda dot: dot.best)),
        line(corners),
    )


def parallel(
    spec: SweepSpec, trials: Sequence[TrialRecord], metric: str, best: TrialRecord | None
) -> Parallel | None:
    """Return parallel coordinates; None for a single parameter, which its scatter shows."""
    shown = [trial for trial in _shown(trials, metric) if set(trial.point) >= set(spec.axes)]
    if len(spec.axes) < 2 or not shown:
        return None
    laid_out = {
        name: _laid_out([trial.point[name] for trial in shown], log=axis.log)
        for name, axis in spec.axes.items()
    }
    upright = covering(_values(shown, metric), zero=False)
    gap = SIZE / len(laid_out)
    axes = [
        UprightAxis(name, round(index * gap * 100 / SIZE, 2), _upright_ticks(axis))
        for index, (name, axis) in enumerate(laid_out.items())
    ]
    axes.append(UprightAxis(metric, 100.0, y_ticks(upright, 5)))
    ranks = {t.number: r for r, t in enumerate(_ranked(spec, shown, metric))}
    threads = []
    for trial in shown:
        heights = [axis.scale.at(axis.place(trial.point[name])) for name, axis in laid_out.items()]
        heights.append(upright.at(trial.metrics[metric]))
        threads.append(
            Thread(
                line((index * gap, SIZE - height) for index, height in enumerate(heights)),
                best is not None and trial.number == best.number,
                ranks[trial.number] / max(len(shown) - 1, 1),
                _says(trial, metric),
            )
        )
    return Parallel(tuple(axes), tuple(sorted(threads, key=lambda t: (t.best, -t.rank))))


def _ranked(spec: SweepSpec, trials: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    sign = -1 if spec.direction == "maximize" else 1
    return sorted(trials, key=lambda trial: sign * trial.metrics[metric])


def _shown(trials: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    ended = [t for t in trials if t.state in ("complete", "pruned")]
    return [t for t in ended if math.isfinite(t.metrics.get(metric, math.nan))]


def _values(trials: Sequence[TrialRecord], metric: str) -> list[float]:
    return [trial.metrics[metric] for trial in trials]


def _dot(trial: TrialRecord, x: float, scale: Scale, metric: str, best: TrialRecord | None) -> Dot:
    is_best = best is not None and trial.number == best.number
    return Dot(
        x, scale.up(trial.metrics[metric]), is_best, trial.state == "pruned", _says(trial, metric)
    )


def _says(trial: TrialRecord, metric: str) -> str:
    state = "" if trial.state == "complete" else f", {trial.state}"
    return f"trial {trial.number}: {trial.name}, {metric} {trial.metrics[metric]:.6g}{state}"


def _laid_out(values: Sequence[str], *, log: bool) -> _Axis:
    numbers = _as_numbers(values)
    if numbers is None:
        words = tuple(dict.fromkeys(values))
        return _Axis(Scale(-0.5, len(words) - 0.5), False, words)
    wide = min(numbers) > 0 and (log or max(numbers) / min(numbers) >= _WIDE)
    places = [math.log10(number) for number in numbers] if wide else numbers
    return _Axis(covering(places, zero=False, margin=0.05), wide)


def _as_numbers(values: Sequence[str]) -> list[float] | None:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _x_ticks(axis: _Axis) -> tuple[Tick, ...]:
    return tuple(
        Tick(axis.scale.percent(place), label, minor=index % 2 == 1 and not axis.words)
        for index, (place, label) in enumerate(_labels(axis))
    )


def _upright_ticks(axis: _Axis) -> tuple[Tick, ...]:
    return tuple(Tick(axis.scale.up(place), label) for place, label in _labels(axis))


def _labels(axis: _Axis) -> list[tuple[float, str]]:
    """Return places and their names."""
    if axis.words:
        every = math.ceil(len(axis.words) / _NAMED)
        return [(float(i), word) for i, word in enumerate(axis.words) if i % every == 0]
    if not axis.log:
        values = nice_numbers(axis.scale, 5)
        return list(zip(values, number_labels(values), strict=True))
    return [(math.log10(value), f"{value:g}") for value in _factors(axis.scale)]


def _factors(scale: Scale) -> list[float]:
    """Return round numbers that are on a scale of decimal logarithms."""
    decades = range(math.floor(scale.low), math.ceil(scale.high) + 1)
    tens = [10.0**n for n in decades if scale.low <= n <= scale.high]
    every = math.ceil(len(tens) / _NAMED) or 1
    if len(tens) >= 2:
        return tens[::every]
    fine = [float(f"{step}e{n}") for n in decades for step in _STEPS]
    return [value for value in fine if scale.low <= math.log10(value) <= scale.high]


def _whole(values: Sequence[float]) -> list[float]:
    return [value for value in values if value == int(value) and value >= 1]
