"""Parts of a job's output: Parquet, CSV or JSON lines with the same columns in each."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from mlops.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

Form: TypeAlias = Literal["parquet", "csv", "jsonl"]
#: Name to its n cells, in order.
Columns: TypeAlias = Mapping[str, Sequence[Any]]

#: Types of columns whose first cells need not tell.
_KNOWN: Mapping[str, str] = {"error": "text"}
_WIDER = ("integer", "number")
_KINDS: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "text"}
# What orjson, Arrow and `str.encode` raise of a whole number of more than 64 bits, of text with
# half a surrogate pair, and of lists in lists in lists.
_NO_FORM = (TypeError, ValueError, OverflowError)

#: Type to that of Arrow. Where no cell has told yet it is that of text, which is what may follow.
_ARROW: Mapping[str, str] = {
    "boolean": "bool", "integer": "int64", "number": "float64", "text": "string", "json": "string",
    "unknown": "string",
}  # fmt: skip


def kinds_of(columns: Columns) -> dict[str, str]:
    """Return the type of each column by its cells; `unknown` where all of them are missing.

    >>> kinds_of({"a": [1, None], "b": [1, 2.5], "c": [{"x": 1}], "d": [None]})
    {'a': 'integer', 'b': 'number', 'c': 'json', 'd': 'unknown'}
    """
    return {name: _KNOWN.get(name) or _kind(cells) for name, cells in columns.items()}


def widened(kinds: Mapping[str, str], columns: Columns) -> dict[str, str]:
    """Return the types of columns with more cells: unknown ones, and whole numbers, may widen.

    >>> widened({"a": "unknown", "b": "integer", "c": "text"}, {"a": [True], "b": [2.5], "c": [1]})
    {'a': 'boolean', 'b': 'number', 'c': 'text'}
    """
    found = kinds_of(columns)
    return {
        name: found[name] if kind == "unknown" or (kind, found[name]) == _WIDER else kind
        for name, kind in kinds.items()
    }


def is_same_form(form: Form, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Whether parts with the types before are as with those after; text has no types."""
    return form != "parquet" or all(
        _ARROW[kind] == _ARROW[after[name]] for name, kind in before.items()
    )


def _kind(cells: Sequence[Any]) -> str:
    kinds = {_KINDS.get(each, "json") for each in set(map(type, cells)) if each is not type(None)}
    if not kinds:
        return "unknown"
    if kinds == set(_WIDER):
        return "number"
    return kinds.pop() if len(kinds) == 1 else "json"


def write_part(path: Path, form: Form, columns: Columns, kinds: Mapping[str, str]) -> None:
    """Write one part.

    Raises:
        InvalidInputError: A cell is not of its column's type, or has no form in a file.
    """
    convert, write = _WRITERS[form]
    ready: dict[str, Sequence[Any]] = {}
    for name, cells in columns.items():
        _check_kind(kinds[name], name, cells)
        try:
            ready[name] = convert(kinds[name], _as(kinds[name], cells))
        except _NO_FORM as error:
            raise InvalidInputError(
                f"A cell of column `{name}` has no form in {form}: {error}.",
                hint="Is it one of `--keep` that can be left out?",
            ) from error
    write(path, ready)


def _as(kind: str, cells: Sequence[Any]) -> list[Any]:
    if kind == "json":
        return [None if cell is None else orjson.dumps(cell).decode() for cell in cells]
    if kind == "number":
        return [None if cell is None else float(cell) for cell in cells]
    return list(cells)


def _check_kind(kind: str, name: str, cells: Sequence[Any]) -> None:
    now = _kind(cells)
    if kind in ("json", now) or now == "unknown" or (now, kind) == _WIDER:
        return
    raise InvalidInputError(
        f"Column `{name}` had cells of type {kind} at first, and has {now} here.",
        hint="Score such files apart, each with its own `--out`.",
    )


def _to_arrow(kind: str, cells: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    return pa.array(cells, pa.type_for_alias(_ARROW[kind]))


def _parquet(path: Path, columns: Columns) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(dict(columns)), path, compression="zstd")


def _schema(names: Iterable[str], kinds: Mapping[str, str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(_ARROW[kinds[name]])) for name in names])


def recast(path: Path, kinds: Mapping[str, str]) -> bool:
    """Give a Parquet part that was written before its columns' types widened the later ones.

    Returns:
        Whether it had others.
    """
    from pyarrow import parquet

    table = parquet.read_table(path)
    schema = _schema(table.column_names, kinds)
    if table.schema.types == schema.types:
        return False
    parquet.write_table(table.cast(schema, safe=False), path, compression="zstd")
    return True


def _to_texts(_: str, cells: Sequence[Any]) -> Sequence[Any]:
    texts = [str(cell).lower() if type(cell) is bool else cell for cell in cells]
    "".join(cell for cell in texts if type(cell) is str).encode()
    return texts


def _csv(path: Path, columns: Columns) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _to_json(kind: str, cells: Sequence[Any]) -> Sequence[Any]:
    if kind == "json":
        return [None if cell is None else orjson.Fragment(cell) for cell in cells]
    orjson.dumps(cells)
    return cells


def _jsonl(path: Path, columns: Columns) -> None:
    with path.open("wb") as file:
        for row in zip(*columns.values(), strict=True):
            file.write(orjson.dumps(dict(zip(columns, row, strict=True))) + b"\n")


#: Form to what converts the cells of a column of a type, which fails where a cell has no form in
#: it, and to what writes the columns.
_WRITERS: Mapping[
    Form, tuple[Callable[[str, Sequence[Any]], Sequence[Any]], Callable[[Path, Columns], None]]
] = {"parquet": (_to_arrow, _parquet), "csv": (_to_texts, _csv), "jsonl": (_to_json, _jsonl)}


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
