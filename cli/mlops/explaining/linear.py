"""Linear models, also behind scalers s: phi_j = w_j (s_j(x_j) - mean of s_j(z_j))."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops.explaining.base import Explanation, NotExactError, check_additive
from mlops.runtimes.base import UnsuitableError
from mlops.runtimes.numpy_linear import linear_parts
from mlops.runtimes.scaling import unpipe

_Array = np.ndarray[Any, Any]


def explain_linear(
    estimator: Any,  # noqa: ANN401 - untyped
    names: tuple[str, ...],
    rows: _Array,
    background: _Array,
) -> Explanation:
    """Explain x W + b.

    Args:
        estimator: Of scikit-learn.
        names: Of the features, (k,).
        rows: (n, k).
        background: (m, k).

    Raises:
        NotExactError: It is another model.
    """
    try:
        steps, last = unpipe(estimator)
        weights, intercept, classes = linear_parts(last)
    except UnsuitableError as error:
        raise NotExactError(str(error)) from error
    for step in steps:
        rows, background = step(rows), step(background)
    scores = rows @ weights + intercept
    if weights.ndim == 1:
        output = "prediction" if classes is None else f"score of class {classes[1]}"
        if type(last).__name__.startswith("LogisticRegression"):
            output = f"log-odds of class {classes[1]}" if classes is not None else output
        picked = np.broadcast_to(weights, rows.shape)
        outputs, offsets = scores, np.broadcast_to(intercept, len(rows))
    elif classes is None:
        if weights.shape[1] != 1:
            raise NotExactError("it has several outputs")
        output, picked = "prediction", np.broadcast_to(weights[:, 0], rows.shape)
        outputs, offsets = scores[:, 0], np.broadcast_to(intercept, len(rows))
    else:
        best = scores.argmax(axis=1)
        output = "score of the class that is answered"
        picked, outputs = weights.T[best], scores[np.arange(len(rows)), best]
        offsets = intercept[best]
    mean = background.mean(axis=0)
    base = picked @ mean + offsets
    return check_additive("linear", output, names, base, picked * (rows - mean), outputs)
