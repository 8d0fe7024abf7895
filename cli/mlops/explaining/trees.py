"""Trees of scikit-learn, exactly, with the background's rows for features that are left out.

A leaf is a box; for one row x and one row z of the background, A are the features in which only x
is inside of it, B those in which only z is. If a feature has neither inside, no coalition gets to
the leaf. Else its value v is reached by the coalitions that have all of A and none of B, and its
part of the Shapley values is, with a = |A| and b = |B|,

    + v (a - 1)! b! / (a + b)!   for each feature of A
    - v a! (b - 1)! / (a + b)!   for each feature of B

summed over leaves and trees, and averaged over the background (Laberge et al. 2022, Interventional
TreeSHAP; Lundberg et al. 2020, algorithm 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlops.explaining.base import (
    Explanation,
    NotExactError,
    check_additive,
    of_classes,
    pick_classes,
    plain_label,
)

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.tree._tree import Tree

_Array = np.ndarray[Any, Any]
_FORESTS = ("RandomForest", "ExtraTrees", "DecisionTree", "ExtraTree")
_HISTOGRAM = "HistGradientBoosting"
_BOOSTED = ("GradientBoosting", _HISTOGRAM)
#: Cells of background times leaves times features that are looked at for one row.
_MOST = 60_000_000
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The L leaves of one tree.

    Attributes:
        low: Lower bounds, outside of the box, (L, k).
        high: Upper bounds, inside, (L, k).
        values: What each leaf adds to the output, (L, outputs).
    """

    low: _Array
    high: _Array
    values: _Array


def explain_trees(
    estimator: object,
    names: tuple[str, ...],
    rows: _Array,
    background: _Array,
    classes: Sequence[Any] | None = None,
) -> Explanation:
    """Explain an ensemble; of a classifier the probability, or log-odds, of a class.

    Args:
        estimator: Of scikit-learn.
        names: Of the features, (k,).
        rows: (n, k).
        background: (m, k); fewer are taken where there are many leaves.
        classes: Of each row the class to explain; None for the second of two, else the answer's.

    Raises:
        NotExactError: It is another model, or a cell is missing.
        OtherClassesError: It does not know one of the classes.
    """
    boxes = _ensemble(estimator, len(names))
    if not type(estimator).__name__.startswith(_HISTOGRAM):
        # The others round rows before they compare.
        rows, background = rows.astype(np.float32), background.astype(np.float32)
    if not (np.isfinite(rows).all() and np.isfinite(background).all()):
        raise NotExactError("a cell is missing or infinite")
    size = sum(len(each.low) for each in boxes) * len(names)
    background = background[: max(1, min(len(background), _MOST // size))]
    scores, what = _scores(estimator, rows)
    base = _scores(estimator, background)[0].mean(axis=0)
    column, sign, labels = _picked(estimator, scores, classes)
    shares = np.zeros((len(rows), len(names)))
    for at, row in enumerate(rows):
        for box in boxes:
            shares[at] += _of_tree(box, row, background, sign[at] * box.values[:, column[at]])
    return check_additive(
        "trees", what if labels is None else of_classes(what, labels), names, sign * base[column],
        shares, sign * scores[np.arange(len(rows)), column], tolerance=1e-5, classes=labels,
    )  # fmt: skip


def _of_tree(box: _Boxes, row: _Array, background: _Array, values: _Array) -> _Array:
    """Return the shares of one row in one tree, (k,)."""
    leaves, k = box.low.shape
    inside = (row > box.low) & (row <= box.high)
    gain, loss = _weights(k)
    total = np.zeros(k)
    step = max(1, _CELLS_AT_ONCE // (leaves * k))
    for first in range(0, len(background), step):
        z = background[first : first + step, None, :]
        there = (z > box.low) & (z <= box.high)
        only_x, only_z = inside & ~there, ~inside & there
        alive = ~(~inside & ~there).any(axis=2)
        a, b = only_x.sum(axis=2), only_z.sum(axis=2)
        plus, minus = gain[a, b] * alive * values, loss[a, b] * alive * values
        total += np.einsum("bl,blk->k", plus, only_x) - np.einsum("bl,blk->k", minus, only_z)
    return total / len(background)


def _weights(k: int) -> tuple[_Array, _Array]:
    """Return (a - 1)! b! / (a + b)! and a! (b - 1)! / (a + b)! for all a, b up to k."""
    found = _KNOWN.get(k)
    if found is None:
        gain, loss = np.zeros((k + 1, k + 1)), np.zeros((k + 1, k + 1))
        for a in range(k + 1):
            for b in range(k + 1 - a):
                if a:
                    gain[a, b] = 1 / (a * math.comb(a + b, a))
                if b:
                    loss[a, b] = 1 / (b * math.comb(a + b, a))
        found = _KNOWN[k] = (gain, loss)
    return found


_KNOWN: dict[int, tuple[_Array, _Array]] = {}


def _ensemble(estimator: BaseEstimator, k: int) -> Sequence[_Boxes]:
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn."):
        raise NotExactError(f"a `{name}` is not one of scikit-learn")
    if name.startswith(_FORESTS):
        if getattr(estimator, "n_outputs_", 1) != 1:
            raise NotExactError("it has several outputs")
        trees = getattr(estimator, "estimators_", [estimator])
        return [_boxes(each.tree_, k, 1 / len(trees), is_class=_is_class(each)) for each in trees]
    if name.startswith(_HISTOGRAM):
        return _histogram(estimator, k)
    if name.startswith(_BOOSTED):
        shape = estimator.estimators_.shape
        return [
            _shifted(_boxes(each.tree_, k, estimator.learning_rate, is_class=False), at, shape[1])
            for stage in estimator.estimators_
            for at, each in enumerate(stage)
        ]
    raise NotExactError(f"there is no exact method for a `{name}`")


def _histogram(estimator: BaseEstimator, k: int) -> Sequence[_Boxes]:
    """Return the trees of histogram gradient boosting, which have the learning rate in them.

    What it keeps of them is not public: another form of it is a `NotExactError`, and shares that do
    not add up are noticed as of any model.
    """
    try:
        stages = estimator._predictors
        nodes = [[each.nodes for each in stage] for stage in stages]
        plain = getattr(estimator, "_preprocessor", None) is None
        splits = any(each["is_categorical"].any() for stage in nodes for each in stage)
        linked = estimator._loss.link.__class__.__name__ not in ("IdentityLink",)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotExactError("this version of scikit-learn keeps its trees otherwise") from error
    if splits or not plain:
        raise NotExactError("it splits by categories")
    if linked and not _is_class(estimator):
        raise NotExactError("its prediction is no sum of trees")
    return [
        _shifted(_boxes(_as_tree(each), k, 1.0, is_class=False), at, len(stage))
        for stage in nodes
        for at, each in enumerate(stage)
    ]


def _as_tree(nodes: _Array) -> SimpleNamespace:
    """Return nodes with the names that other trees have."""
    leaf = nodes["is_leaf"].astype(bool)
    return SimpleNamespace(
        children_left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        children_right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        value=nodes["value"][:, None, None],
    )


def _is_class(estimator: object) -> bool:
    return hasattr(estimator, "classes_")


def _shifted(box: _Boxes, at: int, outputs: int) -> _Boxes:
    """Let a tree speak of one of several outputs."""
    values = np.zeros((len(box.values), outputs))
    values[:, at] = box.values[:, 0]
    return _Boxes(box.low, box.high, values)


def _boxes(tree: Tree | SimpleNamespace, k: int, weight: float, *, is_class: bool) -> _Boxes:
    """Follow each path of a tree to its leaf."""
    lows, highs, leaves = [], [], []
    waiting = [(0, np.full(k, -np.inf), np.full(k, np.inf))]
    while waiting:
        node, low, high = waiting.pop()
        left, right = tree.children_left[node], tree.children_right[node]
        if left == right:
            lows.append(low)
            highs.append(high)
            leaves.append(node)
            continue
        feature, threshold = tree.feature[node], tree.threshold[node]
        below, above = high.copy(), low.copy()
        below[feature] = min(high[feature], threshold)
        above[feature] = max(low[feature], threshold)
        waiting += [(left, low, below), (right, above, high)]
    values = np.asarray(tree.value)[leaves, 0, :]
    if is_class:
        values = values / values.sum(axis=1, keepdims=True)
    return _Boxes(np.array(lows), np.array(highs), values * weight)


def _scores(estimator: BaseEstimator, rows: _Array) -> tuple[_Array, str]:
    """Return all that the trees answer, (n, outputs), and what it is for people."""
    what = "prediction"
    if not _is_class(estimator):
        scores = np.asarray(estimator.predict(rows), dtype=np.float64)
    elif type(estimator).__name__.startswith(_BOOSTED):
        scores = np.asarray(estimator.decision_function(rows), dtype=np.float64)
        what = "log-odds" if scores.ndim == 1 else "raw score"
    else:
        scores, what = np.asarray(estimator.predict_proba(rows), dtype=np.float64), "probability"
    return (scores[:, None] if scores.ndim == 1 else scores), what


def _picked(
    estimator: BaseEstimator,
    scores: _Array,
    asked: Sequence[Any] | None,
) -> tuple[NDArray[np.int64], _Array, list[Any] | None]:
    """Return column and sign of what is explained of each row, and its class."""
    none, plus = np.zeros(len(scores), dtype=np.int64), np.ones(len(scores))
    if not _is_class(estimator):
        return none, plus, None
    known = estimator.classes_
    answered = none + 1 if len(known) == 2 else scores.argmax(axis=1)
    at = pick_classes(known, answered, asked)
    labels = [plain_label(known[each]) for each in at]
    if scores.shape[1] == 1 and len(known) == 2:
        # One score of two classes, the log-odds of the second.
        return none, np.where(at == 1, 1.0, -1.0), labels
    return at, plus, labels
