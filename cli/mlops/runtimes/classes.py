"""The classes that a classifier chooses from, in the order of its probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

_Class = bool | int | float | str | None


def raw_model(model: PyFuncModel) -> object | None:
    """Return what an `mlflow.pyfunc.PyFuncModel` wraps, or None if its flavour does not give it."""
    try:
        found: object = model.get_raw_model()
    except Exception:  # noqa: BLE001 - flavours raise any error if there is no such model
        return None
    return found


def read_classes(model: PyFuncModel) -> tuple[_Class, ...]:
    """Return `classes_` of what an `mlflow.pyfunc.PyFuncModel` wraps, as scikit-learn has it.

    Empty where the model does not say, or has several outputs.
    """
    return classes_of(raw_model(model))


def classes_of(estimator: object) -> tuple[_Class, ...]:
    """Return `classes_` of an estimator; empty where it does not say, or has several outputs."""
    import numpy as np

    try:
        classes = getattr(estimator, "classes_", 0)
        found = np.asarray(classes).tolist() if np.ndim(classes) == 1 else []
    except Exception:  # noqa: BLE001 - a user's property; outputs of unequal length
        return ()
    return tuple(found) if all(isinstance(each, _Class) for each in found) else ()
