"""From a command line to a resolved sweep."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlops.errors import InvalidInputError, UsageError
from mlops.training.environment import Difference
from mlops.training.execution import Job
from mlops.training.registration import Registration
from mlops.training.search_space import Axis, grid_faults
from mlops.training.sweep.records import SweepOptions, SweepSpec

_USUAL_TRIALS = 20
_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class SweepOrder:
    """What to sweep.

    Attributes:
        job: What its trials run; the parameters that they share.
        axes: Parameters that vary; empty for a sweep that continues.
        options: What the command line says.
        registration: As what the winner is registered.
        environment: Packages that differ from what the project asks for.
    """

    job: Job
    axes: Mapping[str, Axis]
    options: SweepOptions
    registration: Registration
    environment: tuple[Difference, ...] = ()


def settle_spec(order: SweepOrder) -> SweepSpec:
    """Return the spec of a new sweep.

    Raises:
        UsageError: The options contradict each other.
        InvalidInputError: The axes are not a grid.
    """
    options, axes = order.options, order.axes
    sampler = options.sampler or "grid"
    if not axes:
        raise UsageError(
            f"`--sweep {sampler}` has nothing to vary.",
            hint="Give a parameter several values, for example `-P alpha=0.1,0.5` or "
            "`-P alpha=log:0.001..10`.",
        )
    prune = options.prune if options.prune is not None else sampler != "grid"
    _check(options, sampler, prune=prune)
    if sampler == "grid" and (faults := grid_faults(axes)):
        raise InvalidInputError("\n".join(faults))
    points = 1
    for axis in axes.values():
        points *= len(axis.values)
    return SweepSpec(
        entry_point=order.job.entry_point,
        given=dict(order.job.given),
        axes=dict(axes),
        sampler=sampler,
        trials=points if sampler == "grid" else options.trials or _USUAL_TRIALS,
        seed=secrets.randbelow(_SEEDS) if options.seed is None else options.seed,
        metric=options.metric,
        direction=options.direction,
        prune=prune and bool(options.metric),
        env_manager=order.job.env_manager,
    )


def extended(spec: SweepSpec, options: SweepOptions) -> SweepSpec:
    """Return the spec of a sweep that continues, perhaps with more trials or a metric at last.

    Raises:
        UsageError: The options would make another sweep of it.
    """
    settled = {
        "--sweep": options.sampler not in ("", spec.sampler),
        "--seed": options.seed not in (None, spec.seed),
        "--trials": bool(options.trials) and spec.sampler == "grid",
        "--minimize or --maximize": bool(spec.metric and options.metric)
        and (options.metric, options.direction) != (spec.metric, spec.direction),
    }
    if wrong := [name for name, is_wrong in settled.items() if is_wrong]:
        raise UsageError(
            f"`{'`, `'.join(wrong)}` cannot change in a sweep that goes on.",
            hint="Leave it out, or begin a new sweep without `--resume`.",
        )
    if options.metric:
        spec = replace(spec, metric=options.metric, direction=options.direction)
    if options.best and not spec.metric:
        raise _no_metric("--best")
    return replace(spec, trials=max(spec.trials, options.trials))


def _check(options: SweepOptions, sampler: str, *, prune: bool) -> None:
    if sampler == "grid" and options.trials:
        raise UsageError(
            "`--trials` is for a sampler; a grid makes all of its points.",
            hint="Add `--sweep random` or `--sweep tpe`.",
        )
    if not options.metric:
        wanted = {
            "--best": options.best,
            "--sweep tpe": sampler == "tpe",
            "--prune": bool(options.prune and prune),
        }
        for name, is_wanted in wanted.items():
            if is_wanted:
                raise _no_metric(name)


def _no_metric(option: str) -> UsageError:
    return UsageError(
        f"`{option}` needs to know what is best.",
        hint="Add `--minimize METRIC` or `--maximize METRIC`, for example `--minimize rmse`.",
    )
