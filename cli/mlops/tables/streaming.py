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
from typing import IO, Any, AnyStr, BinaryIO, Generic, TypeVar, cast

from mlops.errors import InvalidInputError, unreadable
from mlops.tables.cells import inferred, typed
from mlops.tables.delimited import check_header, separator_of
from mlops.tables.documents import table_of
from mlops.tables.parquet import UNREADABLE, cells_of, names_of
from mlops.tables.signature import Signature
from mlops.tables.table import Table

_PACKED = (".gz", ".bz2", ".xz")
_FORMS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}  # fmt: skip
#: Most characters of a row of a text file, as many as a request may have.
MAX_ROW = 16 * 1024 * 1024
#: Most characters of a chunk, where each cell counts as `_PER_CELL` more: one without text takes
#: memory, too.
MAX_CHUNK = 1024 * 1024 * 1024
_PER_CELL = 32
# One of them stands beside each value of JSON, each name and each bracket.
_SIGNS = (b",", b":", b"[", b"{")
_Row = TypeVar("_Row")
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
            names = names_of(file.schema_arrow)
            for batch in file.iter_batches(rows, columns=names, use_threads=False):
                yield Table({name: cells_of(batch.column(name)) for name in names})
    except FileNotFoundError:
        raise
    except (pa.ArrowException, *UNREADABLE) as error:
        raise InvalidInputError(f"`{path}` is no readable Parquet file: {error}.") from error


def _json_lines(path: Path, signature: Signature, rows: int) -> Iterator[Table]:
    numbered = _json_rows(path)
    while some := _taken(numbered, rows, path):
        documents = []
        for number, line in some:
            try:
                documents.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InvalidInputError(f"`{path}`, line {number}: {error}.") from error
        table = table_of(documents, signature)
        yield Table(table.columns, [number for number, _ in some], table.named)


def _json_rows(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, size and text of each line that is not blank."""
    with _opened(path) as stream:
        lines = _Lines(path, stream)
        for number, line in enumerate(lines, 1):
            lines.read = 0
            if line.strip():
                yield number, len(line) + _PER_CELL * sum(map(line.count, _SIGNS)), line


def _delimited(
    path: Path, signature: Signature, rows: int, wanted: Collection[str] | None, written: str
) -> Iterator[Table]:
    separator = _separator(path)
    kinds = dict(signature.kinds)
    _, header = next(_text_rows(path, separator), (0, []))
    check_header(header)
    unknown = [name for name in header if name not in kinds and (wanted is None or name in wanted)]
    if unknown:
        kinds |= _kinds(path, separator, rows, unknown)
    for lines, named in _text_columns(path, separator, rows):
        typed_columns = {
            name: typed(column, kinds[name]) if name in kinds else column
            for name, column in named.items()
        }
        verbatim = {written: named[written]} if written in unknown else {}
        yield Table(typed_columns, lines, written=verbatim)


def _separator(path: Path) -> str:
    with _opened(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        return separator_of(next((line for line in _Lines(path, text) if line.strip()), ""))


def _text_columns(
    path: Path, separator: str, rows: int
) -> Iterator[tuple[list[int], dict[str, list[str]]]]:
    """Yield lines and columns of so many rows, and again."""
    numbered = _text_rows(path, separator)
    _, header = next(numbered)
    sized = (
        (line, sum(map(len, cells)) + _PER_CELL * len(cells), cells) for line, cells in numbered
    )
    while some := _taken(sized, rows, path):
        for line, cells in some:
            if len(cells) != len(header):
                raise InvalidInputError(
                    f"`{path}`, line {line}: {len(cells)} cells, but the header has {len(header)}."
                )
        columns = map(list, zip(*(cells for _, cells in some), strict=True))
        yield [line for line, _ in some], dict(zip(header, columns, strict=True))


def _text_rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, the header first, with the line on which it ends."""
    with _opened(path) as stream:
        lines = _Lines(path, io.TextIOWrapper(stream, "utf-8-sig", newline=""))
        reader = csv.reader(lines, delimiter=separator, strict=True)
        try:
            for cells in reader:
                lines.read = 0
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:
            raise InvalidInputError(f"`{path}`, line {reader.line_num}: {error}.") from error


class _Lines(Generic[AnyStr]):
    """Lines of a file, of which one that unpacks to gigabytes is not read to its end.

    Attributes:
        read: Characters since the last row ended; whoever takes several lines for a row resets it.
    """

    def __init__(self, path: Path, file: IO[AnyStr]) -> None:
        self._path = path
        self._file: IO[AnyStr] = file
        self._count = self.read = 0

    def __iter__(self) -> Iterator[AnyStr]:
        return self

    def __next__(self) -> AnyStr:
        line = self._file.readline(MAX_ROW - self.read + 1)
        self.read += len(line)
        self._count += 1
        if self.read > MAX_ROW:
            raise InvalidInputError(
                f"`{self._path}`, line {self._count}: the row is longer than {MAX_ROW >> 20} MiB."
            )
        if not line:
            raise StopIteration
        return line


def _taken(rows: Iterator[tuple[int, int, _Row]], most: int, path: Path) -> list[tuple[int, _Row]]:
    """Take so many rows, each with its line and size.

    Raises:
        InvalidInputError: They are too large to be held at once.
    """
    some, size = [], 0
    for line, of_row, row in itertools.islice(rows, most):
        size += of_row
        if size > MAX_CHUNK:
            raise InvalidInputError(
                f"`{path}`: {most:,} rows have more than {MAX_CHUNK >> 20} MiB, each cell counted "
                f"as {_PER_CELL} bytes more than its text.",
                hint="Choose a smaller `--chunk-rows`.",
            )
        some.append((line, row))
    return some


def _kinds(path: Path, separator: str, rows: int, names: Collection[str]) -> dict[str, str]:
    """Return the type of columns by all their cells, as `inferred` would with all at once."""
    found: dict[str, str] = {}
    for _, columns in _text_columns(path, separator, rows):
        for name, column in columns.items():
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
