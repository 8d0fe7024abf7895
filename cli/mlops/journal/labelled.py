"""One row of a request, taken out of the features that the journal kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from mlops.journal.records import WHOLE_REQUEST, LabelledRow


def labelled_row(row: Any) -> LabelledRow | None:  # noqa: ANN401 - a result row
    """Turn a joined row of the tables into a `LabelledRow`.

    None if its row of the request cannot be told: the truth speaks of a whole request of several
    rows, or the features were kept in a form without rows.
    """
    if row.row == WHOLE_REQUEST and row.n_rows > 1:
        return None
    features = pick_row(orjson.loads(row.features), max(row.row, 0))
    if features is None:
        return None
    truth = row.truth if row.truth_json is None else orjson.loads(row.truth_json)
    return LabelledRow(
        nonce=bytes(row.nonce),
        unit=None if row.unit is None else bytes(row.unit),
        features=features,
        truth=truth,
        arm=row.arm,
        propensity=row.propensity,
        revision=row.revision,
    )


def pick_row(kept: Mapping[str, Any], index: int) -> dict[str, Any] | list[Any] | None:
    """Take one row out of `{columns, data}`, `{records}` or `{values}`.

    None if they were kept in a form without rows.
    """
    if "records" in kept:
        record: dict[str, Any] = kept["records"][index]
        return record
    if "data" in kept:
        cells: list[Any] = kept["data"][index]
        return dict(zip(kept["columns"], cells, strict=True)) if kept["columns"] else cells
    values = kept["values"]
    if isinstance(values, dict):
        return {name: _cell(column[index]) for name, column in values.items()}
    row = values[index]
    return row if isinstance(row, list) else None


def _cell(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """A column of shape (n, 1) holds lists of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
