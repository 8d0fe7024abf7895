"""Parts of a job's output: Parquet, CSV or JSON lines with the same columns in each."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from mlops.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

Form: TypeAlias = Literal["parquet", "csv", "jsonl"]
#: Name to its n cells, in order.
Columns: TypeAlias = Mapping[str, Sequence[Any]]
_Classes: TypeAlias = Mapping[str, Sequence[Any]]
_Convert: TypeAlias = Callable[[str, Sequence[Any]], Sequence[Any]]
_Write: TypeAlias = Callable[[Path, Columns, _Classes], None]

#: Types of columns whose first cells need not tell.
_KNOWN: Mapping[str, str] = {"error": "text"}
#: Types to wider ones, which take their cells.
_WIDER = {("integer", "number"), ("integers", "numbers")}
# Lists of nothing but such cells, in text files JSON as any other list.
_LISTS = ("integers", "numbers")
_INT64 = 2**63
_KINDS: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "text"}
# What orjson, Arrow and `str.encode` raise of a whole number of more than 64 bits, of text with
# half a surrogate pair, and of lists in lists in lists.
_NO_FORM = (TypeError, ValueError, OverflowError)

#: Type to that of Arrow. Where no cell has told yet it is that of text, which is what may follow.
_ARROW: Mapping[str, str] = {
    "boolean": "bool", "integer": "int64", "number": "float64", "text": "string", "json": "string",
    "unknown": "string", "integers": "list of int64", "numbers": "list of float64",
}  # fmt: skip


def kinds_of(columns: Columns) -> dict[str, str]:
    """Return the type of each column by its cells; `unknown` where all of them are missing.

    >>> kinds_of({"a": [1, None], "b": [1, 2.5], "c": [{"x": 1}], "d": [None]})
    {'a': 'integer', 'b': 'number', 'c': 'json', 'd': 'unknown'}
    >>> kinds_of({"a": [[7, 8], []], "b": [[0.5, 1], None], "c": [["x"], [1.5]]})
    {'a': 'integers', 'b': 'numbers', 'c': 'json'}
    """
    return {name: _KNOWN.get(name) or _kind(cells) for name, cells in columns.items()}


def widened(kinds: Mapping[str, str], columns: Columns) -> dict[str, str]:
    """Return the types of columns with more cells: they may widen.

    What is unknown becomes what a cell tells, whole numbers become numbers, and lists of numbers
    become JSON where other cells come.

    >>> widened({"a": "unknown", "b": "integer", "c": "text"}, {"a": [True], "b": [2.5], "c": [1]})
    {'a': 'boolean', 'b': 'number', 'c': 'text'}
    >>> widened({"a": "integers", "b": "numbers"}, {"a": [[0.5]], "b": [["x"]]})
    {'a': 'numbers', 'b': 'json'}
    """
    found = kinds_of(columns)
    return {name: _wider(kind, found[name]) for name, kind in kinds.items()}


def _wider(kind: str, now: str) -> str:
    if kind == "unknown" or (kind, now) in _WIDER:
        return now
    return kind if kind not in _LISTS or _fits(kind, now) else "json"


def _fits(kind: str, now: str) -> bool:
    """Whether a column of a type takes cells of another one."""
    return kind in ("json", now) or now == "unknown" or (now, kind) in _WIDER


def is_same_form(form: Form, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Whether parts with the types before are as with those after; text has no types."""
    return form != "parquet" or all(
        _ARROW[kind] == _ARROW[after[name]] for name, kind in before.items()
    )


def _kind(cells: Sequence[Any]) -> str:
    kinds = {_KINDS.get(each, "json") for each in set(map(type, cells)) if each is not type(None)}
    if not kinds:
        return "unknown"
    if kinds == {"integer", "number"}:
        return "number"
    if kinds == {"json"}:
        return _kind_of_lists([cell for cell in cells if cell is not None])
    return kinds.pop() if len(kinds) == 1 else "json"


def _kind_of_lists(cells: Sequence[Any]) -> str:
    if any(type(cell) is not list for cell in cells):
        return "json"
    inside = set(map(type, chain.from_iterable(cells)))
    if not inside <= {int, float, type(None)}:
        return "json"
    if float in inside:
        return "numbers"
    # Others are above what Arrow's int64 has.
    fits = all(each is None or -_INT64 <= each < _INT64 for each in chain.from_iterable(cells))
    return "integers" if fits else "json"


def write_part(
    path: Path,
    form: Form,
    columns: Columns,
    kinds: Mapping[str, str],
    classes: _Classes | None = None,
) -> None:
    """Write one part.

    Args:
        path: Its file.
        form: Its form.
        columns: The cells.
        kinds: Type of each column.
        classes: Of columns with a number per class, what a Parquet file says beside them.

    Raises:
        InvalidInputError: A cell is not of its column's type, or has no form in a file.
    """
    convert, write = _WRITERS[form]
    ready: dict[str, Sequence[Any]] = {}
    for name, cells in columns.items():
        kind = kinds[name]
        _check_kind(kind, name, cells)
        if kind in _LISTS and form != "parquet":
            kind = "json"
        try:
            ready[name] = convert(kind, _as(kind, cells))
        except _NO_FORM as error:
            raise InvalidInputError(
                f"A cell of column `{name}` has no form in {form}: {error}.",
                hint="Is it one of `--keep` that can be left out?",
            ) from error
    write(path, ready, classes or {})


def _as(kind: str, cells: Sequence[Any]) -> list[Any]:
    if kind == "json":
        return [None if cell is None else orjson.dumps(cell).decode() for cell in cells]
    if kind == "number":
        return [None if cell is None else float(cell) for cell in cells]
    if kind == "numbers":
        return [
            cell if cell is None else [None if each is None else float(each) for each in cell]
            for cell in cells
        ]
    return list(cells)


def _check_kind(kind: str, name: str, cells: Sequence[Any]) -> None:
    now = _kind(cells)
    if _fits(kind, now):
        return
    raise InvalidInputError(
        f"Column `{name}` had cells of type {kind} at first, and has {now} here.",
        hint="Score such files apart, each with its own `--out`.",
    )


def _arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    name = _ARROW[kind]
    plain = pa.type_for_alias(name.removeprefix("list of "))
    return pa.list_(plain) if kind in _LISTS else plain


def _to_arrow(kind: str, cells: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    return pa.array(cells, _arrow_type(kind))


def _parquet(path: Path, columns: Columns, classes: _Classes) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(dict(columns))
    for at, field in enumerate(table.schema):
        if field.name in classes:
            told = {"classes": json.dumps(list(classes[field.name]), ensure_ascii=False)}
            table = table.cast(table.schema.set(at, field.with_metadata(told)))
    parquet.write_table(table, path, compression="zstd")


def recast(path: Path, kinds: Mapping[str, str]) -> bool:
    """Give a Parquet part that was written before its columns' types widened the later ones.

    Returns:
        Whether it had others.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    types = [_arrow_type(kinds[name]) for name in table.column_names]
    if table.schema.types == types:
        return False
    fields = [field.with_type(kind) for field, kind in zip(table.schema, types, strict=True)]
    columns = [_recast(column, kind) for column, kind in zip(table.columns, types, strict=True)]
    parquet.write_table(pa.table(columns, schema=pa.schema(fields)), path, compression="zstd")
    return True


def _recast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_list(kind) and not pa.types.is_list(column.type):
        # No cell had told the type yet.
        return pa.nulls(len(column), kind)
    if pa.types.is_list(column.type) and not pa.types.is_list(kind):
        return pa.array(_as("json", column.to_pylist()), kind)
    return column.cast(kind, safe=False)


def _to_texts(_: str, cells: Sequence[Any]) -> Sequence[Any]:
    texts = [str(cell).lower() if type(cell) is bool else cell for cell in cells]
    "".join(cell for cell in texts if type(cell) is str).encode()
    return texts


def _csv(path: Path, columns: Columns, _: _Classes) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _to_json(kind: str, cells: Sequence[Any]) -> Sequence[Any]:
    if kind == "json":
        return [None if cell is None else orjson.Fragment(cell) for cell in cells]
    orjson.dumps(cells)
    return cells


def _jsonl(path: Path, columns: Columns, _: _Classes) -> None:
    with path.open("wb") as file:
        for row in zip(*columns.values(), strict=True):
            file.write(orjson.dumps(dict(zip(columns, row, strict=True))) + b"\n")


#: Form to what converts the cells of a column of a type, which fails where a cell has no form in
#: it, and to what writes the columns.
_WRITERS: Mapping[Form, tuple[_Convert, _Write]] = {
    "parquet": (_to_arrow, _parquet), "csv": (_to_texts, _csv), "jsonl": (_to_json, _jsonl),
}  # fmt: skip


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
