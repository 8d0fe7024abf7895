"""The scoring protocol of `mlflow models serve`: `POST /invocations`.

A JSON body has exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`,
beside them `params` for the model; other keys are ignored, as upstream. `text/csv` is a table with
a header line. The answer is `{"predictions": ...}`, a failure `{"error_code": ..., "message": ...}`
or, for a media type that is not read, plain text with status 415. Where this is kinder: no
Content-Type at all means JSON, and a crash of the model is 500 INTERNAL_ERROR, not 400.

Specification: `mlflow/pyfunc/scoring_server/__init__.py` and `mlflow/utils/proto_json_utils.py` of
MLflow 3.18; error codes in `mlflow/protos/databricks.proto`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

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
    Rows,
)
from mlops.protocols.json_body import (
    kind_of,
    malformed,
    plain,
    read_object,
    shown,
    write,
    write_text,
)
from mlops.protocols.payloads import check_rows, read_names, read_payload, read_records, read_rows
from mlops.protocols.predictions import as_rows
from mlops.protocols.shapes import check_depth, check_rectangle, check_width
from mlops.tables.delimited import read_delimited
from mlops.tables.signature import Signature

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
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
}


class MlflowScoringCodec:
    """Reads and writes MLflow's scoring; it has no request id, so `X-Request-Id` is taken."""

    def decode(
        self, body: bytes, headers: Mapping[str, str], signature: Signature = UNSIGNED
    ) -> InferenceRequest:
        """Read JSON or CSV, as the header `content-type` says; without one, JSON."""
        client_id = headers.get("x-request-id")
        if _media_type(headers.get("content-type")) == "text/csv":
            return InferenceRequest(_read_csv(body, signature), client_id)
        document = read_object(body)
        forms = [form for form in _FORMS if form in document]
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
        return Encoded(200, write({"predictions": as_rows(response.prediction)}))

    def encode_error(self, error: ProtocolError) -> Encoded:
        """Write an error object; plain text for `UNSUPPORTED_MEDIA`, as upstream."""
        if error.kind is Kind.UNSUPPORTED_MEDIA:
            return Encoded(415, write_text(error.message), b"text/plain; charset=utf-8")
        body = {"error_code": _ERROR_CODES[error.kind], "message": plain(error.message)}
        return Encoded(error.kind.status, write(body))


def _media_type(header: str | None) -> str:
    """Return the media type to read the body as.

    Raises:
        ProtocolError: `UNSUPPORTED_MEDIA`: neither JSON nor CSV, not in UTF-8, or with parameters
            such as `format=pandas-split` of MLflow 1.
    """
    if header is None or header == "application/json":
        return "application/json"
    media, *parameters = (part.strip() for part in header.split(";"))
    for parameter in filter(None, parameters):
        name, _, value = parameter.partition("=")
        if name.lower() != "charset":
            message = f"Unrecognized content type parameter {shown(name)}."
            raise ProtocolError(Kind.UNSUPPORTED_MEDIA, message)
        if value.strip('"').lower() not in {"utf-8", "utf8"}:
            message = "The scoring server only supports UTF-8."
            raise ProtocolError(Kind.UNSUPPORTED_MEDIA, message)
    if media.lower() not in {"application/json", "text/csv"}:
        message = f"Only `application/json` and `text/csv` are read, not {shown(media)}."
        raise ProtocolError(Kind.UNSUPPORTED_MEDIA, message)
    return media.lower()


def _read_csv(body: bytes, signature: Signature) -> Columns:
    """Read CSV; a comma separates, as MLflow reads it."""
    try:
        table = read_delimited(body.decode("utf-8-sig"), ",")
    except UnicodeDecodeError as error:
        raise malformed(f"The body is not valid CSV in UTF-8: {error}.") from error
    except InvalidInputError as error:
        raise malformed(error.message) from error
    if not table.rows:
        raise malformed("The CSV has no rows; a header line and at least one row were expected.")
    return Columns(table.typed(signature).columns)


def _read_form(form: str, value: Any) -> Payload:  # noqa: ANN401 - a JSON value
    """Read the value of one of the four keys."""
    match form:
        case "dataframe_split":
            return _read_split(value)
        case "dataframe_records":
            return read_records(value, form)
        case _:
            return read_payload(value, form)


def _read_split(split: Any) -> Payload:  # noqa: ANN401 - a JSON value
    """Read what pandas writes with `orient="split"`; its cells may be lists or objects."""
    if type(split) is not dict or "data" not in split or not split.keys() <= _SPLIT_KEYS:
        keys = "an object with `data` and optionally `columns` and `index`"
        raise malformed(f"`dataframe_split` must be {keys}.")
    where = "dataframe_split.data"
    names = _read_columns(split.get("columns"))
    rows = check_rows(split["data"], where)
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
