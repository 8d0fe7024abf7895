"""Parts of a job's output: Parquet, CSV or JSON lines with the same columns in each."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import orjson

from mlops.errors import InvalidInputError

Form: TypeAlias = Literal["parquet", "csv", "jsonl"]
#: Name to its n cells, in order.
Columns: TypeAlias = Mapping[str, Sequence[Any]]

#: Types of columns whose first cells need not tell.
_KNOWN: Mapping[str, str] = {"error": "text"}
_KINDS: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "text"}


def kinds_of(columns: Columns) -> dict[str, str]:
    """Return the type of each column by its cells: the first chunk's are those of all parts.

    >>> kinds_of({"a": [1, None], "b": [1, 2.5], "c": [{"x": 1}], "d": [None]})
    {'a': 'integer', 'b': 'number', 'c': 'json', 'd': 'json'}
    """
    return {name: _KNOWN.get(name) or _kind(cells) for name, cells in columns.items()}


def _kind(cells: Sequence[Any]) -> str:
    kinds = {_KINDS.get(each, "json") for each in set(map(type, cells)) if each is not type(None)}
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else "json"


def write_part(path: Path, form: Form, columns: Columns, kinds: Mapping[str, str]) -> None:
    """Write one part.

    Raises:
        InvalidInputError: A cell is not of its column's type.
    """
    ready = {name: _as(kinds[name], name, cells) for name, cells in columns.items()}
    _WRITERS[form](path, ready, kinds)


def _as(kind: str, name: str, cells: Sequence[Any]) -> list[Any]:
    now = _kind(cells)
    if kind == "json":
        return [None if cell is None else orjson.dumps(cell).decode() for cell in cells]
    if now == kind:
        return [float(cell) if kind == "number" and cell is not None else cell for cell in cells]
    if (kind, now) == ("number", "integer"):
        return [None if cell is None else float(cell) for cell in cells]
    if all(cell is None for cell in cells):
        return list(cells)
    raise InvalidInputError(
        f"Column `{name}` had cells of type {kind} at first, and has {now} here.",
        hint="Score such files apart, each with its own `--out`.",
    )


def _parquet(path: Path, columns: Columns, kinds: Mapping[str, str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64(),
        "text": pa.string(), "json": pa.string(),
    }  # fmt: skip
    arrays = [pa.array(cells, types[kinds[name]]) for name, cells in columns.items()]
    parquet.write_table(pa.table(arrays, list(columns)), path, compression="zstd")


def _csv(path: Path, columns: Columns, _: Mapping[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*map(_texts, columns.values()), strict=True))


def _texts(cells: Sequence[Any]) -> Sequence[Any]:
    return [str(cell).lower() if type(cell) is bool else cell for cell in cells]


def _jsonl(path: Path, columns: Columns, kinds: Mapping[str, str]) -> None:
    nested = {name for name, kind in kinds.items() if kind == "json"}
    with path.open("wb") as file:
        for row in zip(*columns.values(), strict=True):
            line = {
                name: json.loads(cell) if name in nested and cell is not None else cell
                for name, cell in zip(columns, row, strict=True)
            }
            file.write(orjson.dumps(line) + b"\n")


_WRITERS: Mapping[Form, Callable[[Path, Columns, Mapping[str, str]], None]] = {
    "parquet": _parquet,
    "csv": _csv,
    "jsonl": _jsonl,
}


def merge(parts: Sequence[Path], target: Path, form: Form) -> None:
    """Write parts, at least one, as one file; part by part, in their order."""
    if form == "parquet":
        from pyarrow import parquet

        schema = parquet.read_schema(parts[0])
        with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
            for part in parts:
                writer.write_table(parquet.read_table(part, schema=schema))
        return
    with target.open("wb") as out:
        for index, part in enumerate(parts):
            with part.open("rb") as source:
                if form == "csv" and index:
                    source.readline()
                _copy(source, out)


def _copy(source: IO[bytes], out: IO[bytes]) -> None:
    while block := source.read(1 << 20):
        out.write(block)
