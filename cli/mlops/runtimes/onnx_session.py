"""Pipelines of scikit-learn, also with text and categories, by ONNX Runtime.

The converted model is used only as far as it is proved equal: ONNX computes most of it in float32,
so in practice classifiers pass, and pipelines that ONNX can compute in float64.

Specification: https://onnxruntime.ai/docs/api/python/api_summary.html, SessionOptions.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.protocols.base import Payload, Prediction
from mlops.runtimes.base import Batch, Runtime, UnsuitableError
from mlops.runtimes.estimators import find_estimator
from mlops.runtimes.failures import failure_of
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.onnx_conversion import convert
from mlops.runtimes.table import Table, TableBuilder, is_tabular

if TYPE_CHECKING:
    from types import ModuleType

    from onnxruntime import InferenceSession

_Array = np.ndarray[Any, Any]
_SINGLE_MAX = float(np.finfo(np.float32).max)

_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_MIXED = "bound to different types"
_LONGEST = 100


class OnnxRuntime(Runtime):
    """Runs one ONNX session after another variant of it has failed.

    Args:
        variants: Sessions of the same model, most exact first.
        builder: Checks rows against the signature.
        classes: Labels (c,) of a classifier, None of a regressor.
        fallback: Answers requests with parameters, rows that the builder does not take, and rows
            that are left to the model's own code.
    """

    def __init__(
        self,
        variants: list[Any],
        builder: TableBuilder,
        classes: _Array | None,
        fallback: Runtime,
    ) -> None:
        self._builder = builder
        self._classes = classes
        self._fallback = fallback
        self._joinable = False
        self._left: frozenset[str] = frozenset()
        self._others = variants[1:]
        self._use(variants[0])

    def _use(self, session: InferenceSession) -> None:
        self._session = session
        self._output = session.get_outputs()[0].name
        inputs = {each.name: each.type for each in session.get_inputs()}
        self._whole = [*inputs] == ["X"] and "X" not in self._builder.numbers
        kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}
        self._type = next((kinds[kind] for kind in inputs.values() if kind in kinds), np.float64)
        # The converters leave out columns that no step uses.
        self._numbers = [(i, n) for i, n in enumerate(self._builder.numbers) if n in inputs]
        self._texts = [(i, n) for i, n in enumerate(self._builder.texts) if n in inputs]

    def allow_joining(self) -> None:
        """See `Runtime.allow_joining`."""
        self._joinable = True

    def restrict(self, group: str) -> bool:
        """See `Runtime.restrict`; also takes the next variant."""
        if group in ("missing", "extreme") and group not in self._left:
            self._left |= {group}
            return True
        if not self._others:
            return False
        self._left = frozenset()
        self._use(self._others.pop(0))
        return True

    def prepare(self, payload: Payload, parameters: Mapping[str, Any]) -> Batch:
        """See `Runtime.prepare`."""
        built = None if parameters else self._builder.build(payload)
        if built is None or (self._left and self._is_left(built[0])):
            return self._fallback.prepare(payload, parameters)
        return Table(*built, joinable=self._joinable)

    def infer(self, batch: Batch) -> Prediction:
        """See `Runtime.infer`."""
        if not isinstance(batch, Table):
            return self._fallback.infer(batch)
        try:
            (answer,) = self._session.run([self._output], self._feed(batch))
        except Exception as error:
            raise failure_of(error, *self._builder.named(batch)) from error
        return self._plain(answer)

    def _feed(self, batch: Table) -> dict[str, _Array]:
        numbers = np.ascontiguousarray(batch.numbers, self._type)
        if self._whole:
            return {"X": numbers}
        feed: dict[str, _Array] = {}
        for index, name in self._numbers:
            feed[name] = np.ascontiguousarray(numbers[:, index : index + 1])
        for index, name in self._texts:
            feed[name] = np.array(batch.texts[index], dtype=object)[:, None]
        return feed

    def _plain(self, answer: _Array) -> _Array:
        if self._classes is not None:
            return answer.astype(self._classes.dtype, copy=False)
        answer = answer.astype(np.float64, copy=False)
        return answer[:, 0] if answer.ndim == 2 and answer.shape[1] == 1 else answer

    def _is_left(self, numbers: _Array) -> bool:
        sizes = np.abs(numbers)
        # NaN is never larger, nor smaller.
        if "missing" in self._left:
            return not bool((sizes <= _SINGLE_MAX).all())
        return bool((sizes > _SINGLE_MAX).any())


def open_onnx(model: ModelFolder) -> OnnxRuntime:
    """Convert a model and make its runtime.

    Raises:
        UnsuitableError: It has other columns than numbers, booleans and texts, is no scikit-learn
            model, or cannot be converted.
    """
    import onnxruntime

    flavours = model.mlmodel.get("flavors", {})
    estimator = find_estimator(model.pyfunc.raw, flavours) if "sklearn" in flavours else None
    if estimator is None:
        raise UnsuitableError("it is not a scikit-learn model's `predict`")
    if not is_tabular(model.signature.columns):
        raise UnsuitableError("its columns are not all numbers, booleans or texts")
    known = {name: data for name, data in model.conversions.items() if name.startswith("onnx-")}
    if not known:
        with tempfile.TemporaryDirectory() as folder:
            files = convert(estimator, model.signature.columns, Path(folder))
            known = {f"onnx-{file.name}": file.read_bytes() for file in files}
        model.conversions.update(known)
    variants = _sessions(onnxruntime, [*known.values()])
    classes = getattr(estimator, "classes_", None)
    return OnnxRuntime(
        variants,
        TableBuilder(model.signature.columns),
        None if classes is None else np.asarray(classes),
        model.pyfunc,
    )


def _sessions(onnxruntime: ModuleType, contents: list[bytes]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    sessions, reason = [], ""
    for content in contents:
        try:
            sessions.append(
                onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            )
        except Exception as error:  # noqa: BLE001 - its exceptions have no common class
            reason = _why(str(error))
    if not sessions:
        raise UnsuitableError(f"ONNX Runtime refuses it: {reason}")
    return sessions


def _why(text: str) -> str:
    """Return what a user needs of an error of ONNX Runtime's.

    >>> _why("[ONNXRuntimeError] : 10 : INVALID_GRAPH : This is an invalid model. Error: Duplicate")
    'This is an invalid model'
    >>> _why("[ONNXRuntimeError] : 1 : FAIL : Type Error: Type parameter (T) of Optype (Concat) "
    ...      "bound to different types (tensor(float) and tensor(string)")
    'its converter mixed types of columns'
    """
    if _MIXED in text:
        return "its converter mixed types of columns"
    line = _PREFIX.sub("", " ".join(text.split()))
    return line.partition(". ")[0][:_LONGEST]
