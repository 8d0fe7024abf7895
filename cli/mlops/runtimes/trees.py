"""Ensembles of trees, in float64, by treelite's interpreter.

It compares with the thresholds as the model has them, where a float32 engine moves rows across a
threshold. Its own Python function spends five times what its C function needs for one row, so that
is called directly; the interpreter's lock is free in the meantime.

Specification: https://treelite.readthedocs.io/en/latest/treelite-c-api.html, General Tree Inference
Library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.errors import MODEL_FAILED
from mlops.protocols.base import Kind, Prediction, ProtocolError
from mlops.runtimes.base import Batch, Runtime, UnsuitableError
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.matrix import Matrix, MatrixBuilder
from mlops.runtimes.matrix_runtime import MatrixRuntime
from mlops.runtimes.native import NativeRuntime, numeric_estimator, open_native
from mlops.runtimes.scaling import Step, unpipe

if TYPE_CHECKING:
    from treelite import Model

_Array = np.ndarray[Any, Any]
#: scikit-learn's forests round rows to float32 before they compare.
_ROUNDED = frozenset({
    "ExtraTreesClassifier", "ExtraTreesRegressor", "GradientBoostingClassifier",
    "GradientBoostingRegressor", "IsolationForest", "RandomForestClassifier",
    "RandomForestRegressor",
})  # fmt: skip
_SINGLE_MAX = float(np.finfo(np.float32).max)


class Ensemble:
    """Calls treelite's interpreter with one thread.

    Args:
        model: The trees.
    """

    def __init__(self, model: Model) -> None:
        from treelite.core import _LIB
        from treelite.gtil import predict
        from treelite.gtil.gtil import GTILConfig

        self.model = model
        self.dtype = np.dtype(model.input_type)
        self._config = GTILConfig(predict_type="default", nthread=1)
        self._call = _LIB.TreeliteGTILPredict
        self._arguments = model.handle, self._config.handle, model.input_type.encode()
        self._output = np.dtype(model.output_type)
        # Its shape cannot be asked for.
        self._shape = predict(model, np.zeros((1, model.num_feature)), nthread=1).shape[1:]

    def predict(self, rows: _Array) -> _Array:
        """Return (n, targets, classes).

        Args:
            rows: (n, k), of `dtype`, in C order.
        """
        handle, config, kind = self._arguments
        n = len(rows)
        answer: _Array = np.zeros((n, *self._shape), self._output)
        failed = self._call(
            handle,
            ctypes.c_void_p(rows.ctypes.data),
            kind,
            ctypes.c_uint64(n),
            ctypes.c_void_p(answer.ctypes.data),
            config,
        )
        if failed:
            said = f"{MODEL_FAILED}: treelite cannot predict these rows."
            raise ProtocolError(Kind.MODEL_FAILED, said)
        return answer


@dataclass(frozen=True, slots=True)
class _Trees:
    """What makes an ensemble the model that it was.

    Attributes:
        ensemble: Its trees.
        steps: Scalers before them.
        rounded: Whether rows are rounded to float32 first.
        classes: Labels (c,) of a classifier, else None.
    """

    ensemble: Ensemble
    steps: tuple[Step, ...]
    rounded: bool
    classes: _Array | None


class TreeRuntime(MatrixRuntime):
    """Predicts with an ensemble of trees.

    Args:
        trees: The ensemble.
        builder: Checks rows against the signature and orders them.
        exact: Answers rows that are left to the model's own code.
        fallback: Answers requests with parameters, and such without rows.
    """

    def __init__(
        self, trees: _Trees, builder: MatrixBuilder, exact: NativeRuntime, fallback: Runtime
    ) -> None:  # fmt: skip
        super().__init__(builder, fallback)
        self._exact = exact
        self._trees = trees
        self._left: frozenset[str] = frozenset()

    def restrict(self, group: str) -> bool:
        """See `Runtime.restrict`."""
        if group not in ("missing", "extreme") or group in self._left:
            return False
        self._left |= {group}
        return True

    def borders(self) -> Sequence[tuple[int, float]]:
        """See `Runtime.borders`."""
        return () if self._trees.steps else thresholds(self._trees.ensemble.model)

    def infer(self, batch: Batch) -> Prediction:
        """See `Runtime.infer`."""
        if not isinstance(batch, Matrix):
            return self._fallback.infer(batch)
        rows, trees = batch.values, self._trees
        if self._left and self._is_left(rows):
            return self._exact.infer(batch)
        for step in trees.steps:
            rows = step(rows)
        if trees.rounded:
            rows = rows.astype(np.float32)
        answer = trees.ensemble.predict(np.ascontiguousarray(rows, trees.ensemble.dtype))
        if trees.classes is None:
            return np.squeeze(answer, axis=tuple(i for i in (1, 2) if answer.shape[i] == 1))
        is_binary = answer.shape[2] == 1
        picked = answer[:, 0, 0] > 0.5 if is_binary else answer[:, 0].argmax(axis=1)
        labels: _Array = trees.classes.take(picked)
        return labels

    def _is_left(self, rows: _Array) -> bool:
        sizes = np.abs(rows)
        # NaN is never larger, nor smaller.
        if "missing" in self._left:
            return not sizes.max() <= _SINGLE_MAX
        return bool((sizes > _SINGLE_MAX).any())


def open_trees(model: ModelFolder) -> TreeRuntime:
    """Make the runtime of a forest or a boosted ensemble, also behind scalers.

    Raises:
        UnsuitableError: It is another model.
    """
    steps, estimator = unpipe(numeric_estimator(model))
    ensemble = Ensemble(_converted(estimator))
    if ensemble.model.num_feature != len(model.signature.names):
        raise UnsuitableError("its trees take another number of columns")
    classes = getattr(estimator, "classes_", None)
    if classes is not None and np.ndim(classes) != 1:
        raise UnsuitableError("it has several outputs")
    trees = _Trees(
        ensemble=ensemble,
        steps=steps,
        rounded=type(estimator).__name__ in _ROUNDED or ensemble.dtype == np.float32,
        classes=None if classes is None else np.asarray(classes),
    )
    builder = MatrixBuilder(model.signature.columns)
    return TreeRuntime(trees, builder, open_native(model), model.pyfunc)


def thresholds(model: Model) -> list[tuple[int, float]]:
    """Return (column, threshold) of every split of an ensemble."""
    found: set[tuple[int, float]] = set()
    for index in range(model.num_tree):
        tree = model.get_tree_accessor(index)
        is_split = tree.get_field("cleft") >= 0
        columns = tree.get_field("split_index")[is_split]
        found.update(
            zip(columns.tolist(), tree.get_field("threshold")[is_split].tolist(), strict=True)
        )
    return sorted(found)


def _converted(estimator: object) -> Model:
    from treelite.core import TreeliteError

    home = type(estimator).__module__.partition(".")[0]
    convert = _CONVERTERS.get(home)
    if convert is None:
        raise UnsuitableError(f"a `{type(estimator).__name__}` is not an ensemble of trees")
    try:
        return convert(estimator)
    except (TreeliteError, ValueError, NotImplementedError) as error:
        raise UnsuitableError(f"treelite cannot convert it: {_short(error)}") from error


def _from_sklearn(estimator: object) -> Model:
    import treelite.sklearn

    return treelite.sklearn.import_model(estimator)


def _from_lightgbm(estimator: object) -> Model:
    from treelite.frontend import from_lightgbm

    return from_lightgbm(getattr(estimator, "booster_", estimator))


def _from_xgboost(estimator: Any) -> Model:  # noqa: ANN401 - untyped
    from treelite.frontend import from_xgboost

    if not hasattr(estimator, "get_booster"):
        return from_xgboost(estimator)
    booster = estimator.get_booster()
    # With early stopping it predicts with the trees up to the best iteration only.
    best = getattr(estimator, "best_iteration", None) if estimator.early_stopping_rounds else None
    return from_xgboost(booster if best is None else booster[: best + 1])


_CONVERTERS: dict[str, Callable[[Any], Model]] = {
    "lightgbm": _from_lightgbm,
    "sklearn": _from_sklearn,
    "xgboost": _from_xgboost,
}


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:200] if str(error).strip() else repr(error)
