"""The scalers of scikit-learn in plain NumPy: the same operations in the same order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.runtimes.base import UnsuitableError

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

_Array = np.ndarray[Any, Any]
#: Gives a changed copy of an array (n, k).
Step = Callable[[_Array], _Array]


def unpipe(estimator: object) -> tuple[tuple[Step, ...], Any]:
    """Split an estimator into what its scalers do, and the estimator behind them.

    Raises:
        UnsuitableError: A step before the last is not a scaler.
    """
    *before, last = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    return tuple(step for each in before for step in scaling(each)), last


def scaling(step: BaseEstimator) -> list[Step]:
    """Return what a step of a pipeline does to an array, in the order in which it does it."""
    if step is None or step == "passthrough":
        return []
    name = type(step).__name__
    if name == "FunctionTransformer" and step.func is None:
        return []
    if not type(step).__module__.startswith("sklearn.") or name not in _SCALERS:
        raise UnsuitableError(f"a `{name}` is not one of its scalers")
    return _SCALERS[name](step)


def _standard(step: BaseEstimator) -> list[Step]:
    steps: list[Step] = []
    if step.with_mean:
        steps.append(_minus(step.mean_))
    if step.with_std:
        steps.append(_over(step.scale_))
    return steps


def _min_max(step: BaseEstimator) -> list[Step]:
    steps = [_times(step.scale_), _plus(step.min_)]
    return [*steps, _between(*step.feature_range)] if step.clip else steps


def _max_abs(step: BaseEstimator) -> list[Step]:
    steps = [_over(step.scale_)]
    return [*steps, _between(-1.0, 1.0)] if getattr(step, "clip", False) else steps


def _robust(step: BaseEstimator) -> list[Step]:
    steps: list[Step] = []
    if step.with_centering:
        steps.append(_minus(step.center_))
    if step.with_scaling:
        steps.append(_over(step.scale_))
    return steps


def _minus(by: _Array) -> Step:
    return lambda rows: rows - by


def _plus(by: _Array) -> Step:
    return lambda rows: rows + by


def _times(by: _Array) -> Step:
    return lambda rows: rows * by


def _over(by: _Array) -> Step:
    return lambda rows: rows / by


def _between(low: float, high: float) -> Step:
    return lambda rows: rows.clip(low, high)


_SCALERS: dict[str, Callable[[Any], list[Step]]] = {
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "RobustScaler": _robust,
    "StandardScaler": _standard,
}
