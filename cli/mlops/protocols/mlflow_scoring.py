"""The scoring protocol of `mlflow models serve`: `POST /invocations`.

A JSON body has exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`,
beside them `params` for the model; other keys are ignored, as upstream. A body of none of them but
with `messages`, `prompt` or `input` is a chat's, and goes to the model whole. `text/csv` is a table
with a header line; Parquet is read too. The answer is `{"predictions": ...}`, a failure
`{"error_code": ..., "message": ...}` or, for a media type that is not read, plain text with status
415. Where this is kinder: no Content-Type at all means JSON, and a crash of the model is 500
INTERNAL_ERROR, not 400. All differences are in `docs/mlflow-server.md`.

Specification: `mlflow/pyfunc/scoring_server/__init__.py` and `mlflow/utils/proto_json_utils.py` of
MLflow 3.18; error codes in `mlflow/protos/databricks.proto`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from mlops.errors import InvalidInputError
from mlops.protocols.base import (
    UNSIGNED,
    Columns,
    Encoded,
    InferenceRequest,
    InferenceResponse,
    Kind,
    Payload,
    ProtocolError,
    Records,
    Rows,
    Source,
    Tensor,
    client_id_of,
)
from mlops.protocols.http_status import http_status
from mlops.protocols.json_body import (
    array_cells,
    kind_of,
    malformed,
    plain,
    read_object,
    shown,
    write,
    write_text,
)
from mlops.protocols.payloads import (
    check_rows,
    is_plain_row,
    read_names,
    read_payload,
    read_records,
    read_rows,
)
from mlops.protocols.predictions import as_rows
from mlops.protocols.shapes import check_depth, check_rectangle, check_width
from mlops.tables.cells import without_missing
from mlops.tables.delimited import read_delimited
from mlops.tables.parquet import read_parquet
from mlops.tables.signature import Signature

_JSON = "application/json"
_CSV = "text/csv"
_PARQUET = "application/vnd.apache.parquet"
#: Cells of the largest body of Parquet, which packs what repeats.
_MAX_CELLS = 2_000_000
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
#: Keys of OpenAI's requests, which MLflow takes as they are, and answers without `predictions`.
_CHAT = frozenset({"messages", "prompt", "input"})
_BARE = "bare"
_SPLIT_KEYS = {"columns", "index", "data"}
_ERROR_CODES = {
    Kind.MALFORMED: "BAD_REQUEST",
    Kind.MISMATCH: "INVALID_PARAMETER_VALUE",
    Kind.UNKNOWN_MODEL: "RESOURCE_DOES_NOT_EXIST",
    Kind.SLOW_BODY: "BAD_REQUEST",
    Kind.TOO_LARGE: "BAD_REQUEST",
    Kind.MODEL_FAILED: "INTERNAL_ERROR",
    Kind.UPSTREAM: "TEMPORARILY_UNAVAILABLE",
    Kind.NOT_READY: "TEMPORARILY_UNAVAILABLE",
    Kind.BUSY: "TEMPORARILY_UNAVAILABLE",
    Kind.DEADLINE: "DEADLINE_EXCEEDED",
    Kind.DISK_FULL: "TEMPORARILY_UNAVAILABLE",
    Kind.UNAUTHENTICATED: "UNAUTHENTICATED",
    Kind.FORBIDDEN: "PERMISSION_DENIED",
    Kind.TOO_MANY: "REQUEST_LIMIT_EXCEEDED",
}


class MlflowScoringCodec:
    """Reads and writes MLflow's scoring; it has no request id, so a header has the caller's."""

    def decode(
        self, body: bytes, headers: Mapping[str, str], signature: Signature = UNSIGNED
    ) -> InferenceRequest:
        """Read JSON or CSV, as the header `content-type` says; without one, JSON."""
        client_id = client_id_of(headers)
        media = _media_type(headers.get("content-type"))
        if media != _JSON:
            return InferenceRequest(_read_table(media, body, signature), client_id)
        document = read_object(body, literals=True)
        forms = [form for form in _FORMS if form in document]
        if not forms and not _CHAT.isdisjoint(document):
            check_depth([document], "the body")
            chat = Records([document], Source("body", document))
            return InferenceRequest(chat, client_id, wanted=_BARE)
        if len(forms) != 1:
            names = "`dataframe_split`, `dataframe_records`, `instances` and `inputs`"
            raise malformed(f"The body must have exactly one of {names}.")
        params = document.get("params")
        if params is not None and type(params) is not dict:
            raise malformed(f"`params` must be an object, not {kind_of(params)}.")
        if params:
            check_depth([params], "params")
        payload = _read_form(forms[0], document[forms[0]])
        return InferenceRequest(payload, client_id, params or {})

    def encode(self, response: InferenceResponse, request: InferenceRequest) -> Encoded:
        """Write `{"predictions": ...}`: nested lists, or for a table a list of objects."""
        answer = as_rows(response.prediction)
        document = answer if request.wanted is _BARE else {"predictions": answer}
        return Encoded(200, write(document, _plain))

    def encode_error(self, error: ProtocolError) -> Encoded:
        """Write an error object; plain text for `UNSUPPORTED_MEDIA`, as upstream."""
        if error.kind is Kind.UNSUPPORTED_MEDIA:
            return Encoded(415, write_text(error.message), b"text/plain; charset=utf-8")
        body = {"error_code": _ERROR_CODES[error.kind], "message": plain(error.message)}
        return Encoded(http_status(error.kind), write(body))


def _plain(value: object) -> Any:  # noqa: ANN401 - as `plain`
    """Write bytes as MLflow does: base64 in lines, of which the last ends too."""
    if isinstance(value, bytes | bytearray):
        return base64.encodebytes(value).decode()
    if isinstance(value, np.ndarray):
        return array_cells(value)
    return plain(value)


def _media_type(header: str | None) -> str:
    """Return the media type to read the body as.

    Raises:
        ProtocolError: `UNSUPPORTED_MEDIA`: not JSON, CSV or Parquet, not in UTF-8, or with
            parameters such as `format=pandas-split` of MLflow 1.
    """
    if header is None or header == _JSON:
        return _JSON
    media, *parameters = (part.strip() for part in header.split(";"))
    for parameter in filter(None, parameters):
        name, _, value = parameter.partition("=")
        if name.lower() != "charset":
            message = f"Unrecognized content type parameter {shown(name)}."
            raise ProtocolError(Kind.UNSUPPORTED_MEDIA, message)
        if value.strip('"').lower() not in {"utf-8", "utf8"}:
            message = "The scoring server only supports UTF-8."
            raise ProtocolError(Kind.UNSUPPORTED_MEDIA, message)
    if media.lower() not in {_JSON, _CSV, _PARQUET}:
        message = f"`{_JSON}`, `{_CSV}` and `{_PARQUET}` are read, not {shown(media)}."
        raise ProtocolError(Kind.UNSUPPORTED_MEDIA, message)
    return media.lower()


def _read_table(media: str, body: bytes, signature: Signature) -> Columns:
    """Read CSV, separated by commas as MLflow reads it, or Parquet."""
    try:
        if media == _PARQUET:
            return Columns(read_parquet(body, _MAX_CELLS).columns)
        table = read_delimited(body.decode("utf-8-sig"), ",").typed(signature)
        kinds = signature.kinds
        columns = {
            name: without_missing(cells) if kinds.get(name) == "string" else cells
            for name, cells in table.columns.items()
        }
        return Columns(columns, Source("csv", None))
    except UnicodeDecodeError as error:
        raise malformed(f"The body is not valid CSV in UTF-8: {error}.") from error
    except InvalidInputError as error:
        raise malformed(f"{error.message.rstrip('.')}.") from error


def _read_form(form: str, value: object) -> Payload:
    """Read the value of one of the four keys."""
    match form:
        case "dataframe_split":
            return _read_split(value)
        case "dataframe_records":
            if value == []:
                return Records([])
            # pandas takes rows of cells here too.
            is_cells = type(value) is list and type(value[0]) is not dict
            return _read_split({"data": value}) if is_cells else read_records(value, form)
        case _:
            return _read_inputs(form, value)


def _read_inputs(form: str, value: object) -> Payload:
    """Read any value; one that makes no rows may still be what the model takes."""
    source = Source(form, value)
    try:
        return replace(read_payload(value, form), source=source)
    except ProtocolError:
        check_depth([value], form)
        return Tensor(value if isinstance(value, list) else [value], source)


def _read_split(split: object) -> Payload:
    """Read what pandas writes with `orient="split"`; its cells may be lists or objects."""
    if type(split) is not dict or "data" not in split or not split.keys() <= _SPLIT_KEYS:
        keys = "an object with `data` and optionally `columns` and `index`"
        raise malformed(f"`dataframe_split` must be {keys}.")
    where = "dataframe_split.data"
    names = _read_columns(split.get("columns"))
    rows = split["data"]
    if is_plain_row(rows) and "index" not in split:
        check_width(names, len(rows[0]), where)
        return Rows(rows, names)
    if rows == []:
        return Rows([], names)
    rows = check_rows(rows, where)
    _check_index(split.get("index"), len(rows))
    if set(map(type, rows)) != {list}:
        # A column of single values, which pandas takes as well, or an error.
        return read_rows(rows, where, names)
    check_width(names, check_rectangle(rows, where), where)
    check_depth(chain.from_iterable(rows), where)
    return Rows(rows, names)


def _read_columns(columns: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - a JSON value
    """Read column names; the numbers 0, 1, ... of a frame without names are none."""
    is_numbered = type(columns) is list and columns and type(columns[0]) is int
    if is_numbered and columns == list(range(len(columns))):
        return None
    return read_names(columns, "dataframe_split.columns")


def _check_index(index: object, n_rows: int) -> None:
    """Check that the index, which no model sees, has one label for each row."""
    if index is not None and (type(index) is not list or len(index) != n_rows):
        raise malformed(f"`dataframe_split.index` must be a list of {n_rows} labels.")


CODEC = MlflowScoringCodec()
