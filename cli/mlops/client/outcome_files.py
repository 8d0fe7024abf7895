"""What `mlops feedback --data` names: outcomes, or labelled rows to replay.

Outcomes are recognised by what is in the file, never by its name alone, which `/dev/fd/63` does not
tell: they name requests. A pipe cannot be read twice, so that all is opened once, here.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
import math
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mlops.client.outcomes import Line
from mlops.client.replay_data import place_of
from mlops.errors import InvalidInputError, unreadable
from mlops.protocols.base import Kind, ProtocolError
from mlops.tables import Table, read_bytes
from mlops.tables.cells import LABEL, typed
from mlops.tables.delimited import separator_of
from mlops.tables.reading import MAX_BYTES, is_binary
from mlops.tables.signature import Column, Signature

_IDS = frozenset({"request_id", "client_id"})
_TEXTS = (*_IDS, "outcome_id")
_IN_TABLE = ("request_id", "client_id", "outcome_id", "row", "reward")
# Up to it a float is the whole number that it was made of.
_EXACT = 1 << 53
# A longer first line is of no CSV.
_LONGEST_HEADER = 1 << 20
# Labels that are shown where they are texts among numbers.
_STRAYS, _LONGEST_STRAY = 10, 40


@dataclass(frozen=True, slots=True)
class FeedbackData:
    """What was opened.

    Attributes:
        data: Its name, `-` for standard input.
        labels: Columns of a table with the label of each output.
        stream: Lines of NDJSON with an outcome each, else None.
        table: A table of outcomes, else None.
        ragged: What is wrong with lines of the table that have not as many cells as its header.
        content: Rows to replay from what cannot be opened again; None to read the file.
    """

    data: str
    labels: Sequence[str] = ("truth",)
    stream: Iterable[bytes] | None = None
    table: Table | None = None
    ragged: Mapping[int, str] = field(default_factory=dict)
    content: bytes | None = None

    @property
    def has_outcomes(self) -> bool:
        """Whether it holds outcomes, and not rows to replay."""
        return self.stream is not None or self.table is not None

    def lines(self, note: Callable[[str], None] = lambda _: None) -> Iterable[Line]:
        """Return the outcomes as NDJSON, or why one is none, each on the line it has in its file.

        Args:
            note: Called with what the user should know about the file.

        Raises:
            InvalidInputError: A table has neither labels nor rewards.
        """
        if self.table is None:
            return self.stream or ()
        used = (*_IN_TABLE, *self.labels)
        if unused := [name for name in self.table.names if name not in used]:
            names = ", ".join(f"`{name}`" for name in unused)
            note(f"not used of `{self.data}`: {names}. The time of an outcome is when it arrives.")
        for text in filter(None, (_strays(self.table, name) for name in self.labels)):
            note(text)
        return _lines_of(self.table, self.labels, self.data, self.ragged)


@contextlib.contextmanager
def open_data(data: str, truth_columns: Sequence[str] = ()) -> Iterator[FeedbackData]:
    """Open what `--data` names, and see what it is.

    Args:
        data: The file, or `-` for standard input; empty for none.
        truth_columns: Columns of a table with the label of each output; `truth` by default.

    Raises:
        InvalidInputError: It holds outcomes and cannot be read.
    """
    labels = truth_columns or ("truth",)
    # Where nothing else says what it is; each line that is no outcome is named then.
    stream = data == "-" or data.lower().endswith((".ndjson", ".jsonl"))
    if not data:
        yield FeedbackData(data)
        return
    if data == "-":
        yield _recognised(data, sys.stdin.buffer, labels, stream=True, once=True)
        return
    try:
        file = Path(data).open("rb")  # noqa: SIM115 - it ends below
    except OSError as error:
        if stream:
            raise unreadable(data, error) from error
        # Whatever reads rows says so.
        yield FeedbackData(data, labels)
        return
    with file:
        once = not stat.S_ISREG(Path(data).stat().st_mode)
        yield _recognised(data, file, labels, stream=stream, once=once)


def _recognised(
    data: str, file: BinaryIO, labels: Sequence[str], *, stream: bool, once: bool
) -> FeedbackData:
    """See by its first line what a file is, and read it as far as that takes.

    Args:
        data: Its name.
        file: At its start.
        labels: Columns with labels.
        stream: Whether it is NDJSON unless it is something else.
        once: Whether it can be opened only once.
    """
    head, first = _head(file)
    is_csv = not _IDS.isdisjoint(_header(first))
    is_object = first.startswith(b"{")
    if _is_outcome(first) or (stream and not is_csv and (is_object or not _may_be_table(first))):
        return FeedbackData(data, labels, stream=itertools.chain(head, file))
    if not (is_csv or once or is_object or _may_be_table(first)):
        # Rows to replay, however many.
        return FeedbackData(data, labels)
    content = _content(data, head, file)
    ragged: dict[int, str] = {}
    table = _table(data, content, labels, ragged, sure=is_csv)
    if table is not None:
        return FeedbackData(data, labels, table=table, ragged=ragged)
    if stream:
        return FeedbackData(data, labels, stream=io.BytesIO(content))
    return FeedbackData(data, labels, content=content if once else None)


def _head(file: BinaryIO) -> tuple[list[bytes], bytes]:
    """Read up to the first line that is not blank, and on where a quote in it is not closed.

    Returns:
        The lines, without a byte order mark, and those that are not blank as one.
    """
    head: list[bytes] = []
    blank = quotes = size = 0
    while line := file.readline(_LONGEST_HEADER):
        line = line if head else line.removeprefix(codecs.BOM_UTF8)
        head.append(line)
        if not size and not line.strip():
            blank += 1
            continue
        if not size and (line.startswith(b"{") or _may_be_table(line)):
            if line.startswith(b"{") and not line.endswith(b"\n"):
                head[-1] += file.readline()
            break
        quotes, size = quotes + line.count(b'"'), size + len(line)
        if quotes % 2 == 0 or size >= _LONGEST_HEADER:
            break
    return head, b"".join(head[blank:]).strip()


def _is_outcome(line: bytes) -> bool:
    """Whether a line is an outcome as servers take it; with other keys it may be a row of a table.

    >>> _is_outcome(b'{"request_id": "a", "reward": 1}'), _is_outcome(b'{"request_id": ["a"]}')
    (True, False)
    """
    try:
        document = json.loads(line) if line.startswith(b"{") else None
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict) or not document.keys() <= {*_IN_TABLE, "truth"}:
        return False
    return any(isinstance(document.get(name), str) for name in _IDS)


def _header(line: bytes) -> list[str]:
    r"""Return the names in the header of a CSV, whatever its lines end with.

    >>> _header(b'request_id,"why\nso"'), _header(b"request_id;reward\ra;1\r")
    (['request_id', 'why\nso'], ['request_id', 'reward'])
    """
    if _may_be_table(line) or line.startswith(b"{"):
        return []
    text = line.decode("utf-8", "replace")
    # As a table is read: a list of lines could not have another end within one.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text))
    try:
        return next((cells for cells in lines if cells), [])
    except csv.Error:
        return []


def _may_be_table(line: bytes) -> bool:
    """Whether only the whole of it shows its columns: a list in JSON, Parquet, a packed file."""
    return line.startswith(b"[") or is_binary(line)


def _content(data: str, head: Sequence[bytes], file: BinaryIO) -> bytes:
    try:
        content = b"".join(head) + file.read(MAX_BYTES + 1)
    except OSError as error:
        raise unreadable(data, error) from error
    if len(content) > MAX_BYTES:
        raise InvalidInputError(
            f"`{data}` has more than {MAX_BYTES >> 20} MiB, the most that is read of a table.",
            hint="Outcomes as NDJSON may be any number.",
        )
    return content


def _table(
    data: str, content: bytes, labels: Sequence[str], ragged: dict[int, str], *, sure: bool
) -> Table | None:
    """Read a table of outcomes; None if it is none, of which no more is said unless that is sure.

    Args:
        data: Its name.
        content: What is in it.
        labels: Columns with labels.
        ragged: Gets the lines that have not as many cells as the header.
        sure: Whether it has ids of requests.

    Raises:
        InvalidInputError: It has ids of requests and cannot be read.
    """
    try:
        table = read_bytes(content, _signature(labels), on_ragged=ragged.__setitem__)
    except InvalidInputError as error:
        if not sure:
            return None
        raise InvalidInputError(f"`{data}`: {error.message}", hint=error.hint) from error
    return None if _IDS.isdisjoint(table.names) else table


def _signature(labels: Sequence[str]) -> Signature:
    """Say how a text file of outcomes is read, so that a cell never changes what others are."""
    kinds = dict.fromkeys(labels, LABEL)
    # Ids are texts, also where they look like numbers; `row` is a whole number.
    kinds |= {**dict.fromkeys((*_IDS, "outcome_id"), "string"), "row": "long", "reward": "double"}
    return Signature(columns=tuple(Column(name, kind) for name, kind in kinds.items()))


def _strays(table: Table, name: str) -> str:
    """Name the texts in a column of labels most of which are numbers; empty if there are none.

    >>> _strays(Table({"truth": [6, "6,5", 7.5, None]}, (2, 3, 4, 5)), "truth")
    'of 3 labels in `truth` 1 is a text, not a number: line 3 `6,5`.'
    """
    cells = table.columns.get(name, ())
    known = [(row, cell) for row, cell in enumerate(cells) if cell is not None]
    texts = [(row, cell) for row, cell in known if isinstance(cell, str)]
    if not 0 < len(texts) < len(known) / 2:
        return ""
    shown = ", ".join(
        f"{place_of(table, row)} `{cell[:_LONGEST_STRAY]}`" for row, cell in texts[:_STRAYS]
    )
    what = "1 is a text, not a number" if len(texts) == 1 else f"{len(texts):,} are texts"
    more = ", …" if len(texts) > _STRAYS else ""
    return f"of {len(known):,} labels in `{name}` {what}: {shown}{more}."


def _reward(cell: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a reward as a number where a text of Parquet or JSON is one.

    >>> _reward("0.5"), _reward("12,50"), _reward(float("inf"))
    (0.5, '12,50', 'inf')
    """
    number = typed([cell], "double")[0] if isinstance(cell, str) else cell
    # JSON has no infinity: as a text it is named when it is refused.
    return str(number) if isinstance(number, float) and not math.isfinite(number) else number


def _id(cell: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return an id as text where Parquet or JSON has it as a number, as a CSV is read.

    >>> _id(1001), _id(1001.0), _id("007"), _id(None)
    ('1001', '1001', '007', None)
    """
    if isinstance(cell, float) and cell.is_integer():
        # So pandas writes whole numbers some of which are missing. A large one is not exact: it
        # would be another request's, and as a number its line is refused.
        return str(int(cell)) if abs(cell) < _EXACT else cell
    return str(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else cell


def _lines_of(
    table: Table, truth_columns: Sequence[str], data: str, ragged: Mapping[int, str]
) -> Iterator[Line]:
    """Write a table of outcomes as NDJSON, each on the line it has in its file."""
    absent = [name for name in truth_columns if name not in table.columns]
    if absent and ("reward" not in table.columns or len(truth_columns) > 1):
        raise InvalidInputError(
            f"`{data}` has ids of requests, and neither a column `{absent[0]}` nor `reward`."
            if len(truth_columns) == 1
            else f"`{data}` has no column `{absent[0]}`.",
            hint="`--truth-column NAME` names the column with the labels.",
        )
    names = [name for name in _IN_TABLE if name in table.columns]
    several = len(truth_columns) > 1
    written = 0
    for row, line in enumerate(table.lines or range(1, len(table) + 1)):
        yield from _between(written + 1, line, ragged)
        cells = {name: table.columns[name][row] for name in names}
        cells |= {name: _id(cells[name]) for name in _TEXTS if name in cells}
        if "reward" in cells:
            cells["reward"] = _reward(cells["reward"])
        truths = {name: table.columns[name][row] for name in truth_columns if not absent}
        if any(cell is not None for cell in truths.values()):
            cells["truth"] = truths if several else truths[truth_columns[0]]
        yield json.dumps({key: cell for key, cell in cells.items() if cell is not None}).encode()
        written = max(line, written + 1)
    yield from _between(written + 1, max(ragged, default=0) + 1, ragged)


def _between(first: int, last: int, ragged: Mapping[int, str]) -> Iterator[Line]:
    """Yield lines without an outcome, which are counted and not sent; `last` is not one of them."""
    for line in range(first, last):
        yield ProtocolError(Kind.MALFORMED, ragged[line]) if line in ragged else b""
