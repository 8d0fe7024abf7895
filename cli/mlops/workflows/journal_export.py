"""`mlops journal export`: the journal of a deployment as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from mlops.deployment.journals import open_journal
from mlops.deployment.runtime_files import pick_name, places, read_server_state
from mlops.errors import InvalidInputError, UsageError
from mlops.monitoring.export import Table, export_table
from mlops.rewards.kinds import reads_as_number
from mlops.settings import Settings
from mlops.settings.private import private_opener
from mlops.workflows.evidence import unanswered

Format: TypeAlias = Literal["csv", "json", "parquet"]

#: Lines of a row group of Parquet, which are in memory at once.
_GROUP = 10_000
# What begins a formula in a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        name: Name of the deployment.
        out: The file, `-` for standard output.
        format: csv, json or parquet.
        lines: How many lines.
        columns: Names of the columns.
    """

    name: str
    out: str
    format: Format
    lines: int
    columns: tuple[str, ...]


def export_journal(
    settings: Settings,
    name: str | None,
    out: str,
    form: Format | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Exported:
    """Write the decisions of a deployment joined with their outcomes.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        out: File, written atomically; `-` for standard output.
        form: Its form; by default as the file's name ends.
        on_progress: Called with the lines written and their number.

    Raises:
        UsageError: The form does not follow from the file's name.
        NotFoundError: There is no such deployment, or it has no journal yet.
        InvalidInputError: The file cannot be written.
    """
    form = form or _form_of(out)
    picked = pick_name(settings, name)
    where = places(settings, picked)
    journal = open_journal(settings, picked, read_server_state(where))
    key = where.key.read_bytes() if where.key.exists() else None
    try:
        table = export_table(journal.joined_rows, journal.revision_events(), key)
        if not table.count:
            raise unanswered(picked)
        with _opened(out) as stream:
            _WRITERS[form](table, stream, on_progress)
    finally:
        journal.close()
    return Exported(picked, out, form, table.count, tuple(table.columns))


def _form_of(out: str) -> Format:
    endings: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
    form = "csv" if out == "-" else endings.get(Path(out).suffix.lower())
    if form is None:
        raise UsageError(f"The form of `{out}` is not known.", hint="`--format csv|json|parquet`")
    return form


@contextmanager
def _opened(out: str) -> Iterator[IO[bytes]]:
    if out == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(out)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "wb", opener=private_opener) as stream:
            yield stream
        if path.exists():
            shutil.copymode(path, draft)
        draft.replace(path)
    except OSError as error:
        raise InvalidInputError(f"`{out}` cannot be written: {error.strerror}.") from error
    finally:
        draft.unlink(missing_ok=True)


def _counted(table: Table, on_progress: Callable[[int, int], None]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(table.lines(), start=1):
        yield line
        if number % _GROUP == 0 or number == table.count:
            on_progress(number, table.count)


def _write_csv(table: Table, stream: IO[bytes], on_progress: Callable[[int, int], None]) -> None:
    class Encoded:
        def write(self, text: str) -> int:
            return stream.write(text.encode())

    writer = csv.writer(Encoded(), lineterminator="\n")
    writer.writerow([_cell(name) for name in table.columns])
    for line in _counted(table, on_progress):
        writer.writerow([_cell(line.get(name, "")) for name in table.columns])


def _cell(value: object) -> Any:  # noqa: ANN401 - a JSON value or a time
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value[:1] in _FORMULA and not reads_as_number(value):
        # Values that callers send must not run as formulas in a spreadsheet.
        return f"'{value}"
    return _iso(value)


def _write_json(table: Table, stream: IO[bytes], on_progress: Callable[[int, int], None]) -> None:
    separator = b"[\n"
    for line in _counted(table, on_progress):
        # What a column of JSON holds is not text here.
        document = {
            name: json.loads(value)
            if table.columns[name] == "json" and value is not None
            else _iso(value)
            for name, value in line.items()
        }
        stream.write(separator + json.dumps(document, ensure_ascii=False).encode())
        separator = b",\n"
    stream.write(b"\n]\n")


def _iso(value: object) -> Any:  # noqa: ANN401 - a JSON value or a time
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def _write_parquet(
    table: Table, stream: IO[bytes], on_progress: Callable[[int, int], None]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "text": pa.string(),
        "json": pa.string(),
        "time": pa.timestamp("ms", tz="UTC"),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in table.columns.items()])
    with pq.ParquetWriter(stream, schema) as writer:
        group: list[dict[str, Any]] = []
        for line in _counted(table, on_progress):
            group.append(line)
            if len(group) == _GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group.clear()
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


_WRITERS: dict[Format, Callable[[Table, IO[bytes], Callable[[int, int], None]], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
}
