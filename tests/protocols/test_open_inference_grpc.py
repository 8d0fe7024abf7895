"""Open Inference over gRPC: the same requests and answers as over REST, in messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.protocols import CODECS
from mlops.protocols.base import (
    UNSIGNED,
    Columns,
    InferenceRequest,
    Kind,
    Outcome,
    Prediction,
    ProtocolError,
    Tensor,
    Whole,
)
from mlops.protocols.grpc_status import grpc_status
from mlops.protocols.open_inference_grpc import read_request, write_response
from mlops.protocols.outcomes import read_outcomes
from mlops.protocols.outcomes_grpc import read_feedback
from mlops.protocols.protobuf import Message, message_class
from tests.protocols.answers import Json, answer, read
from tests.protocols.grpc_messages import FIELDS, REQUEST, elements, message_of, parameters

REST = CODECS.load("open-inference")
INTEGERS = {f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)} | {
    f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)
}
# JSON has neither NaN nor infinities.
CELLS: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.integers(*limits) for name, limits in INTEGERS.items()},
    "BOOL": st.booleans(),
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "FP64": st.floats(allow_nan=False, allow_infinity=False),
    "BYTES": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
}
DATATYPES = st.sampled_from(sorted(CELLS))
NAMES = st.sampled_from(["a", "b", "ü", ""])


@st.composite
def requests(draw: st.DrawFn) -> Json:
    """One to three inputs that may or may not make a table, with everything optional drawn."""
    rows = draw(st.integers(1, 3))
    inputs = []
    for _ in range(draw(st.integers(1, 3))):
        datatype = draw(DATATYPES)
        shape = draw(st.sampled_from([[rows], [rows, 1], [rows, 2], [rows, 1, 2], [rows + 1]]))
        count = int(np.prod(shape)) + draw(st.sampled_from([0, 0, 0, 0, 1]))
        data = draw(st.lists(CELLS[datatype], min_size=count, max_size=count))
        entry = {"datatype": datatype, "shape": shape, "data": data}
        # In a message an empty name and none are one.
        entry |= {"name": name} if (name := draw(NAMES)) else {}
        kind = draw(st.sampled_from(["", "", "np", "pd", "base64", "str", "pd_json"]))
        inputs.append({**entry, "parameters": {"content_type": kind}} if kind else entry)
    document: Json = {"inputs": inputs, "outputs": [{"name": n} for n in draw(st.sets(NAMES))]}
    kind = draw(st.sampled_from(["", "", "np", "pd"]))
    document["parameters"] = {"k": 1, **({"content_type": kind} if kind else {})}
    return {**document, "id": draw(st.sampled_from(["", "mine"]))}


def outcome(
    read: Any, *given: Any
) -> tuple[str, Any, str | None, dict[str, Any], int] | tuple[Kind, str]:
    """What a request is taken for, in values that compare; or why it is refused."""
    try:
        request: InferenceRequest = read(*given)
    except ProtocolError as error:
        return error.kind, error.message
    payload = request.payload
    values: Any
    if isinstance(payload, Columns):
        values = {name: cells_of(column) for name, column in payload.values.items()}
    else:
        assert isinstance(payload, Tensor)
        values = cells_of(payload.values)
    return (
        type(payload).__name__,
        values,
        request.client_id,
        dict(request.parameters),
        len(payload.values),
    )


def cells_of(column: Any) -> tuple[str, Any]:
    if isinstance(column, list):
        return "list", column
    return str(column.dtype), (column.shape, column.ravel().tolist())


@given(requests())
def test_a_request_means_the_same_in_both_encodings(document: Json) -> None:
    over_rest = outcome(read, REST, document)
    typed = outcome(read_request, message_of(document, raw=False), UNSIGNED)
    assert typed == over_rest
    raw = outcome(read_request, message_of(document, raw=True), UNSIGNED)
    # The two encodings word a wrong number of elements differently.
    assert raw[0] == over_rest[0]
    assert raw == over_rest or (raw[0] is Kind.MALFORMED and "elements" in over_rest[1])


PREDICTIONS: list[tuple[Prediction, tuple[str, ...] | None]] = [
    *(
        (np.array([1, 0]).astype(dtype), None)
        for dtype in ("?", "i1", "u2", "i4", "u8", "f2", "f4")
    ),
    (np.array([[1.5, 2.0], [np.nan, 4.0]]), None),
    (np.array([[1.5, 2.0], [3.0, 4.0]]), ("low", "high")),
    (np.array(["rot", "grün"], dtype=object), None),
    (np.array([1, None], dtype=object), None),
    ({"label": ["x", None], "score": np.array([0.5, 0.25])}, None),
    ([{"a": 1}, "text"], None),
    (Whole("all of it"), None),
]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(("prediction", "names"), PREDICTIONS)
def test_an_answer_says_the_same_in_both_encodings(
    prediction: Prediction, names: tuple[str, ...] | None, raw: bool
) -> None:
    document = {"inputs": [{"name": "x", "datatype": "INT8", "shape": [2], "data": [1, 2]}]}
    response = answer(prediction, output_names=names)
    theirs = orjson.loads(REST.encode(response, read(REST, document)).body)
    request = read_request(message_of(document, raw=raw), UNSIGNED)
    ours = write_response(response, request)
    assert (ours.model_name, ours.model_version, ours.id) == (
        theirs["model_name"],
        theirs["model_version"],
        theirs["id"],
    )
    assert parameters(ours.parameters) == theirs["parameters"]
    assert bool(ours.raw_output_contents) is raw
    assert len(ours.outputs) == len(theirs["outputs"])
    for output, (datatype, shape, data) in zip(
        theirs["outputs"], elements(ours).values(), strict=True
    ):
        if raw and datatype == "FP16":
            assert output["datatype"] == "FP32"
        else:
            assert datatype == output["datatype"]
        assert shape == output["shape"]
        missing = "" if datatype == "BYTES" else None
        expected = [missing if cell is None else cell for cell in output["data"]]
        assert [None if cell != cell else cell for cell in data] == expected
    content_types = [parameters(output.parameters) for output in ours.outputs]
    assert content_types == [output.get("parameters", {}) for output in theirs["outputs"]]


def refused(message: Message) -> str:
    with pytest.raises(ProtocolError) as caught:
        read_request(message, UNSIGNED)
    assert caught.value.kind is Kind.MALFORMED
    return caught.value.message


def one(datatype: str, **contents: Any) -> Message:
    message = REQUEST()
    message.inputs.add(name="x", datatype=datatype, shape=[2], contents=contents or None)
    return message


@pytest.mark.parametrize("datatype", sorted(FIELDS))
def test_elements_stand_in_the_field_of_their_datatype(datatype: str) -> None:
    other = "int64_contents" if FIELDS[datatype] != "int64_contents" else "fp32_contents"
    message = one(datatype, **{other: [1, 0]})
    assert refused(message) == (
        f"Input 'x': {datatype} belongs in `{FIELDS[datatype]}`, not in `{other}`."
    )
    assert "It has 0 elements" in refused(one(datatype))


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "UINT8", "UINT16"])
def test_whole_numbers_have_a_range(datatype: str) -> None:
    high = INTEGERS[datatype][1]
    assert "out of range" in refused(one(datatype, **{FIELDS[datatype]: [high, high + 1]}))


def test_what_is_no_request_is_explained() -> None:
    assert "at least one tensor" in refused(REQUEST())
    assert "no datatype 'FP8'" in refused(one("FP8"))
    assert "FP16 has no typed contents" in refused(one("FP16", fp32_contents=[1, 2]))
    assert "not UTF-8" in refused(one("BYTES", bytes_contents=[b"\xff", b"a"]))
    both = one("FP64", fp64_contents=[1, 2])
    both.raw_input_contents.append(bytes(16))
    assert "`contents`" in refused(both)
    both.raw_input_contents.append(bytes(16))
    assert "has 2 elements, but there are 1 inputs" in refused(both)
    short = one("FP64")
    short.raw_input_contents.append(bytes(15))
    assert "15 bytes" in refused(short)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    from google.protobuf.message import DecodeError

    try:
        message = REQUEST.FromString(body)
    except DecodeError:
        return
    result = outcome(read_request, message, UNSIGNED)
    assert result[0] in {Kind.MALFORMED, "Columns", "Tensor"}


def test_every_kind_has_a_status() -> None:
    import grpc

    assert all(grpc_status(kind) in grpc.StatusCode.__members__ for kind in Kind)


# Feedback.

OUTCOMES: list[Json] = [
    {"request_id": "r", "reward": 0.0},
    {"request_id": "r", "truth": 0.0, "row": 0},
    {"request_id": "r", "truth": ""},
    {"client_id": "c", "truth": False, "outcome_id": "o"},
    {"request_id": "r", "client_id": "c", "reward": 1.5, "truth": "grün", "row": 3},
]
FEEDBACK = message_class("mlops.v1.FeedbackRequest")
_TRUTHS = {float: "number", str: "text", bool: "flag"}


def feedback_of(*documents: Json) -> Message:
    message = FEEDBACK()
    for document in documents:
        fields = {name: value for name, value in document.items() if name != "truth"}
        if "truth" in document:
            fields[_TRUTHS[type(document["truth"])]] = document["truth"]
        message.outcomes.add(**fields)
    return message


@pytest.mark.parametrize("document", OUTCOMES)
def test_feedback_means_the_same_in_both_encodings(document: Json) -> None:
    body = orjson.dumps(document)
    assert read_feedback(feedback_of(document)) == read_outcomes(body, "application/json")
    many = orjson.dumps({"outcomes": OUTCOMES})
    assert read_feedback(feedback_of(*OUTCOMES)) == read_outcomes(many, "application/json")


def test_the_truth_of_several_outputs_in_both_encodings() -> None:
    def of(name: str, **other: Json) -> list[Outcome]:
        message, values = FEEDBACK(), [{"number": 31.5}, {"text": "cold"}]
        held: Json = {"load": values[0], "temp": values[1]} if name == "named_values" else values
        message.outcomes.add(request_id="r", **{name: {"values": held}}, **other)
        return read_feedback(message)

    def read(truth: Json, **other: Json) -> list[Outcome]:
        body = {"request_id": "r", "truth": truth, **other}
        return read_outcomes(orjson.dumps(body), "application/json")

    listed = [31.5, "cold"]
    assert of("values") == read([listed])
    assert of("values", row=2) == read(listed, row=2)
    assert of("values", row=2)[0].truth == listed
    assert of("named_values") == read({"load": 31.5, "temp": "cold"})


@pytest.mark.parametrize("outcome_id", ["a\0b", "a\nb", "x" * 257])
def test_an_outcome_id_that_not_every_journal_takes_is_refused(outcome_id: str) -> None:
    """With a NUL in it, PostgreSQL refused all that came in the same moment."""
    document = {"request_id": "r", "reward": 1.0, "outcome_id": outcome_id}
    with pytest.raises(ProtocolError, match="printable"):
        read_outcomes(orjson.dumps(document), "application/json")
    with pytest.raises(ProtocolError, match="printable"):
        read_feedback(feedback_of(document))


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        ([], "no feedback"),
        ([{"request_id": "r"}], "`reward` or `truth` is needed"),
        ([OUTCOMES[0], {"reward": 1.0}], "feedback 1: `request_id` is missing"),
        ([{"request_id": "r", "reward": 1.0, "row": -1}], "`row` must be"),
        ([{"request_id": "r", "reward": float("nan")}], "finite"),
    ],
)
def test_feedback_that_is_none_is_explained(documents: list[Json], reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason) as caught:
        read_feedback(feedback_of(*documents))
    assert caught.value.kind is Kind.MALFORMED
