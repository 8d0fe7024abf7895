"""Requests that the live models answer, in the form of every protocol, for the documentation.

They come from the input example that the models were logged with. Each form is read by its own
codec first and one that is refused is left out: the documentation shows nothing that fails.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from mlops.protocols import CODECS
from mlops.protocols.base import (
    Columns,
    InferenceRequest,
    InferenceResponse,
    Prediction,
    ProtocolError,
    Records,
    Rows,
    Tensor,
)
from mlops.protocols.json_body import write
from mlops.protocols.open_inference_metadata import TensorMetadata
from mlops.rewards import is_own, reward_called
from mlops.serving.revision import LiveArm, LiveRevision
from mlops.spec.request_id import KEY_BYTES, mint
from mlops.tables.signature import Signature

_JSON = "application/json"
# A dozen predictions of this length delay the page by a second.
_SLOW_MS = 100.0


@dataclass(frozen=True, slots=True)
class Form:
    """One body that the server accepts.

    Attributes:
        name: The key that makes this form: `dataframe_split`, `ndarray`, …
        media: Its media type.
        body: JSON data, or text where the media type is not JSON.
    """

    name: str
    media: str
    body: Any

    def encoded(self) -> bytes:
        """Return the bytes to send."""
        return self.body.encode() if isinstance(self.body, str) else write(self.body)


@dataclass(frozen=True, slots=True)
class Examples:
    """What can be shown of one live revision.

    Attributes:
        request_id: Looks like one of this deployment, but is of another key: feedback refuses it.
        forms: Requests by protocol; none if the models have no input example.
        answers: By protocol, what the first arm answers to the first form.
        prediction: The first value predicted, if it is a single one; else None.
    """

    request_id: str
    forms: dict[str, list[Form]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    prediction: bool | float | str | None = None


def make_examples(
    live: LiveRevision, document: dict[str, Any] | None, inputs: Sequence[TensorMetadata]
) -> Examples:
    """Make examples for a revision. Predicts: never on the event loop.

    Args:
        live: The revision.
        document: A request for `/invocations` that the models answer, or None.
        inputs: What the models take, by name.
    """
    arm = live.arms[0]
    request_id = mint(
        bytes(KEY_BYTES),
        nonce=b"example only",
        time_ms=0,
        revision=live.served.revision.number,
        arm=arm.index,
        propensity=arm.arm.weight,
    )
    if document is None:
        return Examples(request_id)
    # To JSON and back: NaN, which a file may hold and JSON may not, becomes null.
    document = orjson.loads(write(document))
    assert document is not None
    forms = {
        protocol: [form for form in candidates if _is_answered(live, arm, protocol, form)]
        for protocol, candidates in _forms(live, document, inputs).items()
    }
    answers = _answers(live, arm, request_id, forms)
    return Examples(request_id, forms, answers, _first(answers.get("mlflow")))


def _forms(
    live: LiveRevision, document: dict[str, Any], inputs: Sequence[TensorMetadata]
) -> dict[str, list[Form]]:
    """Return an example in the forms of every protocol that has one for it."""
    own = _form_of(document)
    request = _read("mlflow", own, live.signature)
    if request is None:
        return {}
    if request.parameters or (request.payload.source and request.payload.source.form == "body"):
        # Only MLflow's protocol has parameters, and chats.
        return {"mlflow": [own]}
    payload = request.payload
    if isinstance(payload, Rows):
        split: dict[str, Any] = {"columns": payload.names, "data": payload.values}
        forms = _candidates(split, inputs, live.signature)
    elif isinstance(payload, Records) and len({tuple(row) for row in payload.values}) == 1:
        names = list(payload.values[0])
        split = {"columns": names, "data": [list(row.values()) for row in payload.values]}
        forms = _candidates(split, inputs, live.signature)
    elif isinstance(payload, Tensor) and type(payload.values) is list:
        forms = _values(payload.values)
    else:
        forms = {}
    known = [form for form in forms.get("mlflow", []) if form.name != own.name]
    return {**forms, "mlflow": [own, *known]}


def _form_of(document: dict[str, Any]) -> Form:
    name = next((key for key in document if key != "params"), "body")
    return Form(name, _JSON, document)


def _values(values: list[Any]) -> dict[str, list[Form]]:
    """Return n values that are not rows of cells: texts, or arrays of any rank."""
    array = np.asarray(values) if not any(isinstance(v, dict) for v in values) else None
    tensors = []
    if array is not None and array.dtype.kind in "biufU":
        flat = array.ravel().tolist()
        tensor = {
            "name": "input-0",
            "shape": list(array.shape),
            "datatype": _datatype(flat),
            "parameters": {"content_type": "np"},
            "data": flat,
        }
        tensors = [_form("inputs", [tensor])]
    return {
        "mlflow": [_form("inputs", values)],
        "open-inference": tensors,
        "seldon-v1": [_data("ndarray", None, values)],
        "kserve-v1": [_form("instances", values)],
    }


def _is_answered(live: LiveRevision, arm: LiveArm, protocol: str, form: Form) -> bool:
    """Whether the server would answer a form. Slow models are not asked."""
    request = _read(protocol, form, live.signature)
    if request is None or arm.loaded.row_ms > _SLOW_MS:
        return request is not None
    try:
        arm.loaded.model.predict(request.payload, request.parameters)
    except ProtocolError:
        return False
    return True


def _candidates(
    split: dict[str, Any], inputs: Sequence[TensorMetadata], signature: Signature
) -> dict[str, list[Form]]:
    """Return the rows in every form, the clearest one of each protocol first."""
    rows, names = split["data"], split.get("columns")
    if not names or not all(isinstance(name, str) for name in names):
        return {
            "mlflow": [_form("dataframe_split", {"data": rows}), _form("inputs", rows)],
            "open-inference": _tensor(rows),
            "seldon-v1": [_data("ndarray", None, rows), *_seldon_tensor(None, rows)],
            "kserve-v1": [_form("instances", rows)],
        }
    records = [dict(zip(names, row, strict=True)) for row in rows]
    columns = {name: [row[index] for row in rows] for index, name in enumerate(names)}
    return {
        "mlflow": [
            _form("dataframe_split", {"columns": names, "data": rows}),
            _form("dataframe_records", records),
            _form("inputs", columns),
            *_csv(columns, signature),
        ],
        "open-inference": _columns(columns, inputs),
        "seldon-v1": [
            _data("ndarray", names, rows),
            *_seldon_tensor(names, rows),
            _form("jsonData", records),
        ],
        "kserve-v1": [_form("instances", records), _form("inputs", columns)],
    }


def _form(name: str, value: object) -> Form:
    return Form(name, _JSON, {name: value})


def _data(name: str, names: list[str] | None, value: object) -> Form:
    return Form(name, _JSON, {"data": {**({"names": names} if names else {}), name: value}})


def _seldon_tensor(names: list[str] | None, rows: list[list[Any]]) -> list[Form]:
    cells = [cell for row in rows for cell in row]
    if _datatype(cells) not in ("FP64", "INT64"):
        return []
    return [_data("tensor", names, {"shape": [len(rows), len(rows[0])], "values": cells})]


def _columns(columns: dict[str, list[Any]], inputs: Sequence[TensorMetadata]) -> list[Form]:
    if any(isinstance(cell, list | dict) for cells in columns.values() for cell in cells):
        # A list within `data` would be read as an axis of the tensor.
        return []
    known = {name: datatype for name, datatype, _ in inputs}
    tensors = [
        {
            "name": name,
            "shape": [len(cells), 1],
            "datatype": known.get(name) or _datatype(cells),
            "data": cells,
        }
        for name, cells in columns.items()
    ]
    return [_form("inputs", tensors)]


def _tensor(rows: list[list[Any]]) -> list[Form]:
    cells = [cell for row in rows for cell in row]
    tensor = {
        "name": "input-0",
        "shape": [len(rows), len(rows[0])],
        "datatype": _datatype(cells),
        "parameters": {"content_type": "np"},
        "data": cells,
    }
    return [_form("inputs", [tensor])]


def _datatype(cells: Sequence[Any]) -> str | None:
    """Return the Open Inference datatype that holds all `cells`; None if there is none."""
    kinds = {type(cell) for cell in cells}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    if kinds <= {int, float, type(None)}:
        return "FP64"
    return "BYTES" if kinds <= {str, type(None)} else None


def _csv(columns: dict[str, list[Any]], signature: Signature) -> list[Form]:
    """Return the columns as CSV, unless they would be read as something else."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    form = Form("csv", "text/csv", text.getvalue())
    request = _read("mlflow", form, signature)
    same = request and isinstance(request.payload, Columns) and request.payload.values == columns
    return [form] if same else []


def _read(protocol: str, form: Form, signature: Signature) -> InferenceRequest | None:
    """Read a form as the server would; None if it is refused."""
    try:
        return CODECS.load(protocol).decode(form.encoded(), {"content-type": form.media}, signature)
    except ProtocolError:
        return None


def _answers(
    live: LiveRevision, arm: LiveArm, request_id: str, forms: dict[str, list[Form]]
) -> dict[str, Any]:
    """Return the answer to the first form of each protocol, as JSON data."""
    firsts = {name: _read(name, some[0], live.signature) for name, some in forms.items() if some}
    requests = {name: request for name, request in firsts.items() if request is not None}
    prediction: Prediction | None = None
    answers: dict[str, Any] = {}
    try:
        for protocol, request in requests.items():
            if prediction is None:
                # The rows are the same in every form, and a prediction may take seconds.
                prediction = arm.loaded.model.predict(request.payload, request.parameters)
            response = InferenceResponse(
                prediction=prediction,
                request_id=request_id,
                deployment=live.served.revision.spec.name,
                revision=live.served.revision.number,
                arm=arm.arm.name,
                arm_index=arm.index,
                version=arm.arm.model.public_label,
                output_names=arm.signature.outputs or None,
            )
            encoded = CODECS.load(protocol).encode(response, request)
            answers[protocol] = orjson.loads(encoded.body)
    except ProtocolError:
        # A model that refuses its own example today is shown without answers.
        return {}
    return answers


def _first(answer: object) -> bool | float | str | None:
    """Return the first of MLflow's predictions if it is one value."""
    predictions = answer.get("predictions") if isinstance(answer, dict) else None
    value = predictions[0] if isinstance(predictions, list) and predictions else None
    while isinstance(value, list | dict) and len(value) == 1:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return value if isinstance(value, bool | int | float | str) else None


def example_outcome(
    reward: str, prediction: bool | float | str | None
) -> dict[str, bool | float | str]:
    """Return what feedback to a prediction could say: its truth, its reward or both.

    Args:
        reward: The deployment's reward; the server derives the built-in ones from the truth.
        prediction: What was predicted.

    >>> example_outcome("squared-error", 5.6)
    {'truth': 6}
    >>> example_outcome("shop:margin", "red")
    {'reward': 1.0, 'truth': 'red'}
    """
    derived = reward_called(reward).is_derived
    if prediction is None or not (derived or is_own(reward)):
        return {"reward": 1.0}
    truth = round(prediction) if isinstance(prediction, float) else prediction
    return {"truth": truth} if derived else {"reward": 1.0, "truth": truth}
