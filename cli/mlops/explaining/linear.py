"""Linear models, also behind scalers s: phi_j = w_j (s_j(x_j) - mean of s_j(z_j))."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlops.explaining.base import (
    Explanation,
    NotExactError,
    check_additive,
    of_classes,
    pick_classes,
    plain_label,
)
from mlops.runtimes.base import UnsuitableError
from mlops.runtimes.numpy_linear import linear_parts
from mlops.runtimes.scaling import unpipe

_Array = np.ndarray[Any, Any]


def explain_linear(
    estimator: object,
    names: tuple[str, ...],
    rows: _Array,
    background: _Array,
    classes: Sequence[Any] | None = None,
) -> Explanation:
    """Explain x W + b.

    Args:
        estimator: Of scikit-learn.
        names: Of the features, (k,).
        rows: (n, k).
        background: (m, k).
        classes: Of each row the class to explain; None for the second of two, else the answer's.

    Raises:
        NotExactError: It is another model.
        OtherClassesError: It does not know one of the classes.
    """
    try:
        steps, last = unpipe(estimator)
        weights, intercept, known = linear_parts(last)
    except UnsuitableError as error:
        raise NotExactError(str(error)) from error
    for step in steps:
        rows, background = step(rows), step(background)
    scores = rows @ weights + intercept
    labels: list[Any] | None = None
    what = "log-odds" if type(last).__name__.startswith("LogisticRegression") else "score"
    if known is None:
        if weights.ndim == 2 and weights.shape[1] != 1:
            raise NotExactError("it has several outputs")
        picked = np.broadcast_to(weights.reshape(-1), rows.shape)
        outputs, offsets = scores.reshape(-1), np.broadcast_to(intercept, len(rows))
    elif weights.ndim == 1:
        at = pick_classes(known, np.ones(len(rows), dtype=np.int64), classes)
        labels, sign = [plain_label(known[each]) for each in at], np.where(at == 1, 1.0, -1.0)
        picked, outputs, offsets = sign[:, None] * weights, sign * scores, sign * intercept
    else:
        at = pick_classes(known, scores.argmax(axis=1), classes)
        labels, what = [plain_label(known[each]) for each in at], "score"
        picked, outputs = weights.T[at], scores[np.arange(len(rows)), at]
        offsets = intercept[at]
    output = "prediction" if labels is None else of_classes(what, labels)
    mean = background.mean(axis=0)
    base = picked @ mean + offsets
    return check_additive(
        "linear", output, names, base, picked * (rows - mean), outputs, classes=labels
    )
