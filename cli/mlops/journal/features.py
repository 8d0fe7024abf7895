"""The rows of a request as the journal keeps them: one form for all protocols.

A request's features are the names of its columns and its rows of cells, in the order of the names:
two JSON documents with a newline between them.

    ["alcohol","pH"]
    [[9.4,3.51],[11.0,3.2]]

The names are `null` where the request had none. Most requests have the names of the request before,
so the journal stores each list of names once and a number beside the rows; writing costs about as
much as writing the rows as JSON, and a reader parses many requests at once.

Journals of version 3 and older hold objects in three shapes, with the names in each of them; see
`old_form`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import orjson

from mlops.journal.json_text import as_json
from mlops.protocols.base import Columns, Payload, Records, Rows
from mlops.spec.unit import cell_hash

#: Column name to cell; or the cells in order, where the request had no names.
FeatureRow: TypeAlias = dict[str, Any] | list[Any]

_Names: TypeAlias = tuple[str, ...]
_ONE_RECORD = 1
_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Features of one request, n rows.

    Attributes:
        names: Names of its columns; None where the request had none.
        rows: One list of cells per row; a cell alone where the request was a plain list.
    """

    names: list[str] | None
    rows: list[Any]

    def row(self, index: int) -> FeatureRow | None:
        """Return one row; None if it has no separate cells, or is not there."""
        if index >= len(self.rows):
            return None
        cells = self.rows[index]
        if not isinstance(cells, list):
            return None
        return cells if self.names is None else dict(zip(self.names, cells, strict=True))


@dataclass(frozen=True, slots=True)
class Hiding:
    """Features that are kept hashed, or not at all, whatever else is kept.

    Attributes:
        hashed: Kept as keyed hashes, under the name with a `#` behind it: a reader looking for the
            feature finds that it was not kept, and takes no hash for a value.
        dropped: Not kept.
        key: The deployment's key.
    """

    hashed: _Names = ()
    dropped: _Names = ()
    key: bytes = b""

    def __bool__(self) -> bool:
        """Whether anything is hidden."""
        return bool(self.hashed or self.dropped)


_NOTHING = Hiding()


def not_kept(names: Collection[str], needed: Iterable[str]) -> str:
    """Say which features are needed and not kept, and which setting keeps them out.

    Args:
        names: Names that the journal has of a request.
        needed: Names that a model takes.

    Returns:
        A clause; empty if all are there.

    >>> not_kept(["age", "iban#"], ["age", "iban", "surname"])
    'the journal has `iban` as a hash only (`[journal] hash`), and no `surname` (`[journal] drop` \
or `features`, or it was not sent)'
    """
    missing = [name for name in needed if name not in names]
    hashed = [name for name in missing if f"{name}#" in names]
    gone = [name for name in missing if f"{name}#" not in names]
    clauses = []
    if hashed:
        clauses.append(f"{_quoted(hashed)} as a hash only (`[journal] hash`)")
    if gone:
        clauses.append(f"no {_quoted(gone)} (`[journal] drop` or `features`, or it was not sent)")
    return f"the journal has {', and '.join(clauses)}" if clauses else ""


def _quoted(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:_MOST_NAMED]) + more


def features_of(
    payload: Payload, keep: str | _Names, columns: _Names = (), hiding: Hiding = _NOTHING
) -> bytes | None:
    r"""Write what the journal keeps of a request's rows.

    Args:
        payload: The rows.
        keep: `all`, `none`, or the names of the columns to keep.
        columns: Names of the model's columns; they name rows that came without names.
        hiding: Features that are kept hashed, or not at all.

    Returns:
        See the module; None where nothing is kept. Rows without names are kept only with all
        columns: they cannot be told apart, and features that must not be kept could be among them.

    >>> features_of(Records([{"alcohol": 9.4, "pH": 3.51}]), "all")
    b'["alcohol","pH"]\n[[9.4,3.51]]'
    >>> features_of(Records([{"alcohol": 9.4, "pH": 3.51}]), ("pH",))
    b'["pH"]\n[[3.51]]'
    >>> features_of(Rows([[9.4, 3.51]]), "all", ("alcohol", "pH"))
    b'["alcohol","pH"]\n[[9.4,3.51]]'
    """
    if (keep == "none" and not hiding.hashed) or not payload.n_rows:
        return None
    names, rows = _named_rows(payload, columns)
    if hiding:
        return None if names is None else _hidden(names, rows, keep, hiding)
    if keep == "all":
        return _head(names) + _json(rows)
    if names is None:
        return None
    head, picked = _selection(names, keep)
    return head + _json([[row[index] for index in picked] for row in rows])


def _hidden(names: _Names, rows: Any, keep: str | _Names, hiding: Hiding) -> bytes:  # noqa: ANN401 - rows of cells
    head, picked = _partly(names, keep, hiding.hashed, hiding.dropped)
    cells = [
        [
            cell_hash(names[index], row[index], hiding.key)
            if hashed and row[index] is not None
            else row[index]
            for index, hashed in picked
        ]
        for row in rows
    ]
    return head + _json(cells)


@functools.lru_cache(maxsize=256)
def _partly(
    names: _Names, keep: str | _Names, hashed: _Names, dropped: _Names
) -> tuple[bytes, tuple[tuple[int, bool], ...]]:
    picked = tuple(
        (index, name in hashed)
        for index, name in enumerate(names)
        if name not in dropped and (keep == "all" or name in keep or name in hashed)
    )
    head = _head(tuple(names[index] + "#" * is_hashed for index, is_hashed in picked))
    return head, picked


def old_form(document: Mapping[str, Any]) -> KeptRows:
    """Read what journals of version 3 and older hold: `{columns, data}`, `{records}`, `{values}`.

    >>> old_form({"values": {"a": [[1], [2]], "b": ["x", "y"]}}).rows
    [[1, 'x'], [2, 'y']]
    """
    if "records" in document:
        return _listed(*_of_records(document["records"]))
    if "data" in document:
        return KeptRows(document["columns"], document["data"])
    values = document["values"]
    if isinstance(values, dict):
        return _listed(*_of_columns(values))
    return KeptRows(None, values)


def _listed(names: _Names | None, rows: Sequence[Any]) -> KeptRows:
    return KeptRows(None if names is None else list(names), [list(row) for row in rows])


def _named_rows(payload: Payload, columns: _Names) -> tuple[_Names | None, Any]:
    if isinstance(payload, Records):
        return _of_records(payload.values)
    if isinstance(payload, Columns):
        return _of_columns(payload.values)
    rows: Any = payload.values
    names = payload.names if isinstance(payload, Rows) else None
    if not names and columns and _has_width(rows, len(columns)):
        names = columns
    return names or None, rows


def _of_records(records: Sequence[Mapping[str, Any]]) -> tuple[_Names, Sequence[Any]]:
    first = records[0]
    names = tuple(first)
    if len(records) == _ONE_RECORD:
        return names, [list(first.values())]
    if all(record.keys() == first.keys() for record in records):
        return names, [[record[name] for name in names] for record in records]
    # A cell that is not there and one that is null are the same to every model: pandas makes
    # both a missing value.
    names = tuple(dict.fromkeys(name for record in records for name in record))
    return names, [[record.get(name) for name in names] for record in records]


def _of_columns(columns: Mapping[str, Any]) -> tuple[_Names, Sequence[Any]]:
    return tuple(columns), list(zip(*map(_cells, columns.values()), strict=True))


def _cells(column: Any) -> Sequence[Any]:  # noqa: ANN401 - a list or an array
    """Cells of a column of shape (n,) or (n, 1)."""
    if isinstance(column, np.ndarray):
        flat = column.ravel() if column.ndim == 2 and column.shape[1] == 1 else column
        # Times have no JSON form as `tolist` gives them; the writer of JSON knows what to do.
        cells: Sequence[Any] = flat.tolist() if flat.dtype.kind in "biufUO" else list(flat)
        return cells
    return [
        cell[0] if isinstance(cell, list) and len(cell) == 1 else cell for cell in column
    ]  # fmt: skip


def _has_width(rows: Any, width: int) -> bool:  # noqa: ANN401 - nested lists or an array
    if isinstance(rows, np.ndarray):
        return rows.ndim == 2 and rows.shape[1] == width
    return all(isinstance(row, list | tuple | np.ndarray) and len(row) == width for row in rows)


@functools.lru_cache(maxsize=256)
def _head(names: _Names | None) -> bytes:
    return as_json(names).encode() + b"\n"


@functools.lru_cache(maxsize=256)
def _selection(names: _Names, keep: _Names) -> tuple[bytes, tuple[int, ...]]:
    picked = tuple(index for index, name in enumerate(names) if name in keep)
    return _head(tuple(names[index] for index in picked)), picked


def _json(rows: object) -> bytes:
    try:
        return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        return as_json(rows).encode()
