"""The `truth` of Seldon v1 feedback: a message with the truth of each row of the request.

Specification: message `Feedback` of `proto/prediction.proto`, seldon-core 1.18.2, which lets
truth be any `SeldonMessage`; here it must come down to one value per row, or one per output of each
row: by name in objects, else by position, since Seldon's own clients make names up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from mlops.protocols.base import (
    MAX_OUTCOMES,
    MAX_TRUTH,
    Cell,
    Kind,
    Payload,
    ProtocolError,
    Records,
    Rows,
    Tensor,
)
from mlops.protocols.json_body import kind_of, malformed, shown
from mlops.protocols.outcomes import outputs_of
from mlops.protocols.predictions import column_cells, table_rows
from mlops.protocols.seldon_v1 import read_message


def read_truths(message: object) -> list[Any]:
    """Read the truth of each row, None where it is unknown; empty if there is no truth.

    Raises:
        ProtocolError: `MALFORMED`: no message, or rows of unequal outputs; null in every row,
            as that is what a client sends which lost its truth on the way. `TOO_LARGE`: more than
            `MAX_OUTCOMES` rows.
    """
    if message is None or message == {}:
        return []
    if type(message) is not dict:
        raise malformed(f"`truth` must be an object, not {kind_of(message)}.")
    truths = [_truth(value, row) for row, value in enumerate(_values(message))]
    if len({outputs_of(truth) for truth in truths if truth is not None}) > 1:
        raise malformed("Rows of `truth` have unequal outputs.")
    if all(truth is None for truth in truths):
        raise malformed("`truth` holds no value; leave it out if it is not known.")
    return truths


def _values(message: dict[str, Any]) -> Iterable[Any]:
    """Return what is in each row."""
    match [(key, value) for key, value in message.items() if key not in {"meta", "status"}]:
        # One row may be given without a list around it.
        case [("strData", str() as value)]:
            return [value]
        case [("jsonData", str() | bool() | int() | float() as value)]:
            return [value]
    _, payload = read_message(message)
    if payload.n_rows > MAX_OUTCOMES:
        fault = f"`truth` has {payload.n_rows} rows; send at most {MAX_OUTCOMES}."
        raise ProtocolError(Kind.TOO_LARGE, fault)
    return _rows(payload)


def _rows(payload: Payload) -> Iterable[Any]:
    """Return what is in each row: its only cell, or all of them."""
    match payload:
        case Tensor():
            return column_cells(payload.values)
        case Rows():
            rows: Sequence[Sequence[Any]] = payload.values
        case Records():
            return [
                next(iter(record.values())) if len(record) == 1 else dict(record)
                for record in payload.values
            ]
        case _:
            rows = table_rows(payload.values)
    return [cells[0] if len(cells) == 1 else list(cells) for cells in rows]


def _truth(value: object, row: int) -> Any:  # noqa: ANN401 - a JSON value
    """Check the truth of a row."""
    if not isinstance(value, list | dict) or len(value) < 2:
        return _cell(value, row)
    cells = list(value.values()) if isinstance(value, dict) else value
    if any(_cell(cell, row) is None for cell in cells):
        raise malformed(f"Row {row} of `truth` has no value for one of its outputs.")
    return value


def _cell(value: object, row: int) -> Cell:
    """Check one true value; NaN is a missing one."""
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
    elif isinstance(value, str) and len(value) > MAX_TRUTH:
        raise malformed(f"The truth of row {row} has {len(value)} characters, above {MAX_TRUTH}.")
    elif value is None or isinstance(value, bool | int | float | str):
        return value
    raise malformed(f"The truth of row {row} must be a number, string or boolean: {shown(value)}.")
