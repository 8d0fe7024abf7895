"""The classes that a classifier chooses from, in the order of its probabilities."""

from __future__ import annotations

from typing import Any

_Class = bool | int | float | str | None


def read_classes(model: Any) -> tuple[_Class, ...]:  # noqa: ANN401 - MLflow is untyped
    """Return `classes_` of what an `mlflow.pyfunc.PyFuncModel` wraps, as scikit-learn has it.

    Empty where the model does not say, or has several outputs.
    """
    import numpy as np

    try:
        classes = getattr(model.get_raw_model(), "classes_", None)
    except Exception:  # noqa: BLE001 - flavours raise any error if there is no such model
        return ()
    if classes is None or np.ndim(classes) != 1:
        return ()
    found = np.asarray(classes).tolist()
    return tuple(found) if all(isinstance(each, _Class) for each in found) else ()
