"""Large files, some thousand rows at a time: Parquet, CSV and JSON lines in constant memory.

Rows mean what they mean in a request: columns have the signature's types. A column of a text file
that the signature does not name has the type of all its cells, which takes a pass of its own, so
that a chunk of whole numbers is no other type than one with a fraction.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from mlops.errors import InvalidInputError, unreadable
from mlops.tables.cells import inferred, typed
from mlops.tables.delimited import check_header, separator_of
from mlops.tables.documents import table_of
from mlops.tables.parquet import cells_of
from mlops.tables.signature import Signature
from mlops.tables.table import Table

_PACKED = (".gz", ".bz2", ".xz")
_FORMS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}  # fmt: skip
_KINDS: Mapping[type, str] = {bool: "boolean", int: "long", float: "double", str: "string"}


def form_of(name: str) -> str:
    """Return the form of a file by its name: `parquet`, `csv` or `jsonl`.

    Raises:
        InvalidInputError: Its name does not tell.

    >>> form_of("a.csv.gz"), form_of("b.pq")
    ('csv', 'parquet')
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    form = _FORMS.get(suffixes[-1] if suffixes else "")
    if form is None:
        raise InvalidInputError(
            f"The form of `{name}` is not known.", hint="Name it .parquet, .csv, .tsv or .jsonl."
        )
    return form


def chunks(
    path: Path, signature: Signature, rows: int, *, wanted: Collection[str] | None = None,
    written: str = "",
) -> Iterator[Table]:  # fmt: skip
    """Read a file in chunks of so many rows, the last one smaller.

    Args:
        path: A file whose name tells its form; text may be packed by gzip, bzip2 or xz.
        signature: Types columns by name.
        rows: Rows of a chunk, at least 1.
        wanted: Columns beside the signature's whose cells need types; None for all of them.
        written: Column beside the signature's that is also given as a text file writes it: the
            code `007` has the type of a number.

    Raises:
        InvalidInputError: It cannot be read, or is not what its name says.
    """
    form = form_of(path.name)
    try:
        if form == "parquet":
            yield from _parquet(path, rows)
        elif form == "jsonl":
            yield from _json_lines(path, signature, rows)
        else:
            yield from _delimited(path, signature, rows, wanted, written)
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise unreadable(str(path), error) from error
        raise InvalidInputError(f"`{path}` cannot be read: {error}.") from error


def _parquet(path: Path, rows: int) -> Iterator[Table]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            told = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
            index = {name for name in told if isinstance(name, str)}
            names = [name for name in file.schema_arrow.names if name not in index]
            for batch in file.iter_batches(rows, columns=names, use_threads=False):
                yield Table({name: cells_of(batch.column(name)) for name in names})
    except pa.ArrowException as error:
        raise InvalidInputError(f"`{path}` is no readable Parquet file: {error}.") from error


def _json_lines(path: Path, signature: Signature, rows: int) -> Iterator[Table]:
    with _opened(path) as stream:
        lines = ((number, line) for number, line in enumerate(stream, 1) if line.strip())
        while some := list(itertools.islice(lines, rows)):
            documents = []
            for number, line in some:
                try:
                    documents.append(json.loads(line))
                except ValueError as error:
                    raise InvalidInputError(f"`{path}`, line {number}: {error}.") from error
            table = table_of(documents, signature)
            yield Table(table.columns, [number for number, _ in some], table.named)


def _delimited(
    path: Path, signature: Signature, rows: int, wanted: Collection[str] | None, written: str
) -> Iterator[Table]:
    with _opened(path) as stream:
        first = stream.readline()
    separator = separator_of(first.decode("utf-8-sig"))
    kinds = dict(signature.kinds)
    header = next(csv.reader([first.decode("utf-8-sig")], delimiter=separator), [])
    check_header(header)
    unknown = [name for name in header if name not in kinds and (wanted is None or name in wanted)]
    if unknown:
        kinds |= _kinds(path, header, separator, rows, unknown)
    for lines, cells in _text_rows(path, header, separator, rows):
        columns = zip(*cells, strict=True)
        named = dict(zip(header, columns, strict=True))
        typed_columns = {
            name: typed(list(column), kinds[name]) if name in kinds else list(column)
            for name, column in named.items()
        }
        verbatim = {written: named[written]} if written in unknown else {}
        yield Table(typed_columns, lines, written=verbatim)


def _text_rows(
    path: Path, header: Sequence[str], separator: str, rows: int
) -> Iterator[tuple[list[int], list[list[str]]]]:
    with _opened(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        reader = csv.reader(text, delimiter=separator, strict=True)
        try:
            next(reader, None)
            numbered = ((reader.line_num, cells) for cells in reader if cells)
            while some := list(itertools.islice(numbered, rows)):
                for line, cells in some:
                    if len(cells) != len(header):
                        raise InvalidInputError(
                            f"`{path}`, line {line}: {len(cells)} cells, but the header has "
                            f"{len(header)}."
                        )
                yield [line for line, _ in some], [cells for _, cells in some]
        except csv.Error as error:
            raise InvalidInputError(f"`{path}`, line {reader.line_num}: {error}.") from error


def _kinds(
    path: Path, header: Sequence[str], separator: str, rows: int, names: Collection[str]
) -> dict[str, str]:
    """Return the type of columns by all their cells, as `inferred` would with all at once."""
    found: dict[str, str] = {}
    for _, cells in _text_rows(path, header, separator, rows):
        for name, column in zip(header, zip(*cells, strict=True), strict=True):
            if name in names and found.get(name) != "string":
                kind = _kind(inferred(column))
                before = found.get(name, kind)
                found[name] = _joined(before, kind)
    return {name: kind for name, kind in found.items() if kind}


def _kind(cells: Sequence[Any]) -> str:
    return next((_KINDS[type(cell)] for cell in cells if cell is not None), "")


def _joined(one: str, other: str) -> str:
    if not one or not other or one == other:
        return one or other
    return "double" if {one, other} == {"long", "double"} else "string"


def _opened(path: Path) -> BinaryIO:
    suffix = path.suffix.lower()
    if suffix not in _PACKED:
        return path.open("rb")
    openers = {".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}
    return cast("BinaryIO", openers[suffix](path))
