"""One rule for every runtime, and one beginning of what is said, by which a replay goes on."""

from __future__ import annotations

import math
import queue
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from mlops.errors import MODEL_FAILED, MODEL_REFUSED, RemoteError
from mlops.protocols.base import Kind, Prediction, ProtocolError, Records
from mlops.runtimes.base import Batch, Runtime
from mlops.runtimes.failures import failure_of
from mlops.runtimes.isolated.model import _Child
from mlops.runtimes.matrix import MatrixBuilder
from mlops.runtimes.native import NativeRuntime
from mlops.runtimes.numpy_columns import ColumnsRuntime
from mlops.runtimes.onnx_session import OnnxRuntime
from mlops.runtimes.pyfunc import _reason
from mlops.runtimes.table import TableBuilder
from mlops.runtimes.trees import Ensemble
from mlops.serving.runners.batching import infer_one
from mlops.tables.signature import Column

_COLUMNS = (Column("size", "double"),)


class _Fallback(Runtime):
    def prepare(self, payload: object, parameters: object) -> Batch:
        raise AssertionError

    def infer(self, batch: Batch) -> Prediction:
        raise ZeroDivisionError


def _native(failing: Callable[..., Any]) -> Runtime:
    estimator: Any = SimpleNamespace(predict=failing)
    return NativeRuntime(estimator, MatrixBuilder(_COLUMNS), _Fallback())


def _onnx(failing: Callable[..., Any]) -> Runtime:
    said = SimpleNamespace(name="size", type="tensor(double)")
    session = SimpleNamespace(run=failing, get_inputs=lambda: [said], get_outputs=lambda: [said])
    return OnnxRuntime([session], TableBuilder(_COLUMNS), None, _Fallback())


def _columns(failing: Callable[..., Any]) -> Runtime:
    builder = TableBuilder(_COLUMNS)
    return ColumnsRuntime([failing], np.zeros(1), None, builder, [0], {}, _Fallback())


@pytest.mark.parametrize("make", [_native, _onnx, _columns])
@pytest.mark.parametrize(
    ("error", "cell", "kind"),
    [
        (TypeError("no number"), math.nan, Kind.MISMATCH),
        (TypeError("no number"), 1.0, Kind.MODEL_FAILED),
        (ValueError("unknown"), 1.0, Kind.MISMATCH),
        (RuntimeError("device lost"), math.nan, Kind.MODEL_FAILED),
        (SystemError("broken"), math.nan, Kind.MODEL_FAILED),
        (MemoryError(), math.nan, Kind.MODEL_FAILED),
    ],
)
def test_every_runtime_has_the_same_rule(
    make: Callable[..., Runtime], error: Exception, cell: float, kind: Kind
) -> None:
    def failing(*_: object) -> None:
        raise error

    runtime = make(failing)
    with pytest.raises(ProtocolError) as caught:
        runtime.predict(Records([{"size": cell}]), {})
    assert caught.value.kind is kind
    refused = kind is Kind.MISMATCH
    assert caught.value.message.startswith(MODEL_REFUSED if refused else MODEL_FAILED)


def test_rows_that_no_signature_has_checked_may_be_wrong() -> None:
    error = failure_of(KeyError("size"), [{}], (), checked=False)
    assert error.kind is Kind.MISMATCH
    assert error.message == f"{MODEL_REFUSED}: it raised KeyError: 'size'"
    assert failure_of(RuntimeError(), [{}], (), checked=False).kind is Kind.MODEL_FAILED


def test_what_a_runtime_lets_through_begins_so_too() -> None:
    found = infer_one(_Fallback(), SimpleNamespace(key=None, n_rows=1))  # type: ignore[arg-type]
    assert isinstance(found, ProtocolError)
    assert (found.kind, found.message) == (
        Kind.MODEL_FAILED, f"{MODEL_FAILED}: ZeroDivisionError: ",
    )  # fmt: skip


def test_trees_that_fail_begin_so_too() -> None:
    ensemble = Ensemble.__new__(Ensemble)
    ensemble._config = SimpleNamespace(handle=None)
    vars(ensemble).update(
        _arguments=(None, None, b""), _shape=(1, 1), _output=np.dtype(float), _call=lambda *_: 1
    )
    with pytest.raises(ProtocolError) as caught:
        ensemble.predict(np.zeros((1, 1)))
    assert caught.value.message.startswith(MODEL_FAILED)


def test_a_process_that_ends_before_it_answers_begins_so_too() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    child = _Child.__new__(_Child)
    child._free = queue.LifoQueue()
    child._free.put(ours)
    with ours, pytest.raises(ProtocolError) as caught:
        child.ask([])
    assert caught.value.message.startswith(MODEL_FAILED)


def test_clients_know_a_failure_by_its_beginning() -> None:
    from mlops.client.faults import Answer, refusal

    text = f'{{"error": "{MODEL_FAILED}: KeyError"}}'.encode()
    error = refusal(Answer(500, {}, text, "http://127.0.0.1", "/invocations", here=True))
    assert isinstance(error, RemoteError)
    assert error.reason == "model"


def test_what_a_nested_value_lacks_is_one_sentence() -> None:
    said = (
        "Data is not compatible with model signature. Failed to convert column item to type "
        "'{id: string (required)}'. Error: "
        "'MlflowException(\"Missing required properties: {'id'}\")'"
    )
    assert (
        _reason(MlflowException(said)) == f"{MODEL_REFUSED}: Missing required properties: {{'id'}}"
    )
