"""Outputs of an Open Inference answer.

An array is one output `output-1`, of shape [N, 1] if it has one value per row; where the model's
signature names its columns, and for a table, there is one output of shape [N, 1] per column.
Names and content types are those of MLServer 1.7.1.

Specification: "Inference Response JSON Object" in `inference_rest.md` of
kserve/open-inference-protocol; `mlserver/codecs` of MLServer.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Collection
from typing import Any

import numpy as np

from mlops.protocols.base import InferenceResponse, Kind, Prediction, ProtocolError, Whole
from mlops.protocols.json_body import array_cells, plain, shown, write
from mlops.protocols.open_inference_types import DATATYPES, Array, OpenInferenceTensor
from mlops.protocols.predictions import by_row, flat

#: What MLServer's runtimes for scikit-learn and XGBoost call their only output, and the requests of
#: their documentation ask for.
_MLSERVER_OUTPUT = "predict"


def wanted_outputs(
    response: InferenceResponse, n_rows: int, names: Collection[str]
) -> tuple[OpenInferenceTensor, ...]:
    """Return the outputs that a request asks for by name, or all if it names none.

    Raises:
        ProtocolError: `MISMATCH`: it asks for one that the model does not have.
    """
    outputs = outputs_of(response.prediction, response.output_names, n_rows)
    if not names:
        return outputs
    if len(outputs) == 1 and set(names) == {_MLSERVER_OUTPUT}:
        return (outputs[0]._replace(name=_MLSERVER_OUTPUT),)
    unknown = set(names) - {tensor.name for tensor in outputs}
    if unknown:
        having = ", ".join(f"`{tensor.name}`" for tensor in outputs)
        message = f"There is no output {shown(min(unknown))}; outputs are {having}."
        raise ProtocolError(Kind.MISMATCH, message)
    return tuple(tensor for tensor in outputs if tensor.name in names)


def response_parameters(response: InferenceResponse) -> dict[str, str | int]:
    """Return what identifies the prediction; a table is marked as MLServer marks it."""
    parameters: dict[str, str | int] = {
        "mlops_request_id": response.request_id,
        "mlops_arm": response.arm,
        "mlops_revision": response.revision,
        "mlops_version": response.version,
    }
    if isinstance(response.prediction, dict):
        parameters["content_type"] = "pd"
    return parameters


def outputs_of(
    prediction: Prediction, names: tuple[str, ...] | None, n_rows: int
) -> tuple[OpenInferenceTensor, ...]:
    """Return a prediction of n rows as tensors of n rows.

    Args:
        prediction: What the model answered.
        names: Names of its k columns, if known.
        n_rows: So many rows were asked about.
    """
    if isinstance(prediction, Whole):
        rowwise = by_row(prediction, n_rows)
        prediction = [prediction.value] if rowwise is None else rowwise
    prediction = flat(prediction)
    assert not isinstance(prediction, Whole)
    if isinstance(prediction, dict):
        return tuple(_column(name, cells) for name, cells in prediction.items())
    if isinstance(prediction, list):
        name = names[0] if names is not None and len(names) == 1 else "output-1"
        return (_column(name, prediction),)
    width = prediction.shape[1] if prediction.ndim == 2 else 1
    if names is None or len(names) != width:
        return (_array("output-1", prediction),)
    if width == 1:
        return (_array(names[0], prediction),)
    return tuple(_array(name, prediction[:, i]) for i, name in enumerate(names))


def _column(name: str, cells: Any) -> OpenInferenceTensor:  # noqa: ANN401 - any sequence of cells
    """Return one column of a table; MLServer marks numbers in it with no content type."""
    if not isinstance(cells, np.ndarray):
        # From a list of lists `np.array` would make an array of rank 2.
        cells = np.fromiter(cells, dtype=object, count=len(cells))
    return _tensor(name, cells, None)


def _array(name: str, array: Array) -> OpenInferenceTensor:
    """Return an array as one output of content type `np`."""
    return _tensor(name, array, "np")


def _tensor(name: str, array: Array, content_type: str | None) -> OpenInferenceTensor:
    """Return an array of any dtype as a tensor; rank 1 gets a second axis of size 1."""
    shape = array.shape if array.ndim > 1 else (len(array), 1)
    if array.dtype == object:
        array = _inferred(array)
    datatype = DATATYPES.get(array.dtype)
    if datatype is None and array.dtype.kind in "biuf":
        # A long double, or a foreign byte order.
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
        datatype = DATATYPES[array.dtype]
    if datatype is not None:
        return OpenInferenceTensor(name, datatype, shape, array.ravel(), content_type)
    data, content_type = _texts(array_cells(array.ravel()))
    return OpenInferenceTensor(name, "BYTES", shape, data, content_type)


def _inferred(array: Array) -> Array:
    """Give an array of Python numbers its dtype; None among numbers is NaN."""
    cells = [plain(cell) if isinstance(cell, np.generic) else cell for cell in array.ravel()]
    kinds = set(map(type, cells))
    if kinds == {bool}:
        return np.array(cells, dtype=np.bool_)
    if kinds == {int} and all(-(2**63) <= cell < 2**63 for cell in cells):
        return np.array(cells, dtype=np.int64)
    if kinds <= {int, float, type(None)} and kinds != {type(None)}:
        return np.array(cells, dtype=np.float64)
    return array


def _texts(cells: list[Any]) -> tuple[list[str | None], str]:
    """Return cells that are not numbers as strings, and what the strings hold."""
    kinds = set(map(type, cells)) - {type(None)}
    if kinds == {bytes}:
        return [None if cell is None else _base64(cell) for cell in cells], "base64"
    if kinds and all(issubclass(kind, dt.date) for kind in kinds):
        return [None if cell is None else plain(cell) for cell in cells], "datetime"
    return [_text(cell) for cell in cells], "str"


def _base64(cell: bytes) -> str:
    """Return bytes in base64, the form of MLServer's content type of that name."""
    return base64.b64encode(cell).decode()


def _text(cell: object) -> str | None:
    """Return a string as it is, anything else as JSON."""
    if cell is None:
        return None
    return str(cell) if isinstance(cell, str) else write(cell).decode()
