"""Rows in JSON: MLflow's request bodies, a list of rows, or one object a line (NDJSON)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlops.errors import InvalidInputError
from mlops.tables.signature import Signature
from mlops.tables.table import Table

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def read_json(text: str, signature: Signature | None = None) -> Table:
    """Read rows from JSON text.

    Raises:
        InvalidInputError: It is not JSON, or no rows.
    """
    try:
        return table_of(json.loads(text), signature)
    except ValueError as error:
        lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or text.lstrip()[0] != "{":
            raise InvalidInputError(f"This is not valid JSON: {error}.") from error
    rows = []
    for number, line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise InvalidInputError(f"Line {number} is not valid JSON: {error}.") from error
    table = table_of(rows, signature)
    return Table(table.columns, [number for number, _ in lines], table.named)


def table_of(document: object, signature: Signature | None = None) -> Table:
    """Take rows out of a parsed document.

    Raises:
        InvalidInputError: They are not rows, or of different sizes.
    """
    if isinstance(document, dict):
        forms = [form for form in _FORMS if form in document]
        if len(forms) == 1:
            value = document[forms[0]]
            if forms[0] == "dataframe_split":
                return _split(value, signature)
            return table_of(value, signature) if isinstance(value, list) else _columns(value)
        return _columns(document)
    if not isinstance(document, list) or not document:
        raise InvalidInputError("There are no rows in it: a list of objects was expected.")
    if all(isinstance(row, dict) for row in document):
        return Table(_by_name(document, signature))
    return _by_position(document, None, signature)


def _split(split: object, signature: Signature | None) -> Table:
    if not isinstance(split, dict) or not isinstance(split.get("data"), list):
        raise InvalidInputError("`dataframe_split` must be an object with `columns` and `data`.")
    return _by_position(split["data"], split.get("columns"), signature)


def _columns(table: object) -> Table:
    """Take columns as they are; single values are one row."""
    if not isinstance(table, dict) or not table:
        raise InvalidInputError("There are no rows in it: a list of objects was expected.")
    if not any(isinstance(cells, list) for cells in table.values()):
        return Table({name: [cell] for name, cell in table.items()})
    sizes = {len(cells) if isinstance(cells, list) else 0 for cells in table.values()}
    if len(sizes) != 1:
        raise InvalidInputError("Its columns have different numbers of rows.")
    return Table(table)


def _by_name(rows: Sequence[Mapping[str, Any]], signature: Signature | None) -> dict[str, Any]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    kinds = signature.kinds if signature else {}
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {name: _whole(cells, kinds.get(name)) for name, cells in columns.items()}


def _by_position(rows: Sequence[Any], names: Any, signature: Signature | None) -> Table:  # noqa: ANN401 - JSON
    cells = [row if isinstance(row, list) else [row] for row in rows]
    width = len(cells[0]) if cells else len(names or ())
    for number, row in enumerate(cells):
        if len(row) != width:
            raise InvalidInputError(f"Row {number} has {len(row)} cells, but row 0 has {width}.")
    named = bool(names)
    if not names:
        known = signature.names if signature else ()
        names = known if len(known) == width else [str(index) for index in range(width)]
    if not isinstance(names, list | tuple) or len(names) != width or len(set(names)) != width:
        raise InvalidInputError(f"Rows of {width} cells need {width} column names, each once.")
    columns = zip(*cells, strict=True) if cells else [()] * width
    kinds = signature.kinds if signature else {}
    typed = {
        str(n): _whole(list(c), kinds.get(str(n))) for n, c in zip(names, columns, strict=True)
    }
    return Table(typed, named=named)


def _whole(cells: list[Any], kind: str | None) -> list[Any]:
    """Write whole numbers without a fraction where the column takes only those."""
    if kind not in ("long", "integer"):
        return cells
    return [int(c) if isinstance(c, float) and c.is_integer() else c for c in cells]
