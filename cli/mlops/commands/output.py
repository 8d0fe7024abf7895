"""Output of commands: data to stdout, everything else to stderr.

Rich is imported inside the functions, so that a command that prints nothing does not import it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import logging
import math
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import typer

from mlops.errors import MlopsError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SCHEMA_VERSION = 1
# Seen once, at the start: a relative path means another program after a change of folder.
_FOLDER = os.environ.get("PWD") or "."
_CALLED = Path(_FOLDER, sys.argv[0])

# What `-q` has silenced in this process.
_SILENCED: set[str] = set()
_LOGGERS = ("mlops", "mlflow")

#: The option every command that prints data takes.
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel="Output"),
]


def be_quiet(wanted: bool) -> None:
    """Print results and errors only, from here on."""
    if wanted:
        _SILENCED.add("notes")


def is_quiet() -> bool:
    """Whether results and errors only are to be printed."""
    return "notes" in _SILENCED


def be_verbose(level: int) -> None:
    """Show log messages, and the traceback of an error.

    Args:
        level: 0 for neither, 1 for information, 2 for debugging too.
    """
    if level:
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.INFO if level == 1 else logging.DEBUG)


def without_color(wanted: bool) -> None:
    """Print without colour, here and in what this process starts."""
    if wanted:
        os.environ["NO_COLOR"] = "1"


def start_afresh() -> None:
    """Reset options of an earlier command in this process."""
    _SILENCED.clear()
    logging.getLogger("mlops").setLevel(logging.NOTSET)


def console(*, stderr: bool = False, always: bool = False) -> Console:
    """Return a console for data (stdout) or for notes (stderr).

    Args:
        stderr: Whether it is for notes, which `-q` silences.
        always: Whether it writes even so.
    """
    from mlops.commands.terminal import SafeConsole, Trimmed

    # Piped output must not be wrapped to an arbitrary width.
    stream = sys.stderr if stderr else sys.stdout
    live = stream.isatty()
    return SafeConsole(
        file=stream if live else cast("IO[str]", Trimmed(stream)),
        width=None if live or os.environ.get("COLUMNS") else 120,
        highlight=False,
        soft_wrap=not live,
        quiet=stderr and not always and is_quiet(),
    )


def note(message: str, *, always: bool = False) -> None:
    """Show the user a message that is not data; rich markup is supported.

    Args:
        message: One or more lines.
        always: Whether it is said even with `-q`.
    """
    console(stderr=True, always=always).print(message)


def show(
    document: Mapping[str, Any], *, as_json: bool, render: Callable[[Console], None] | None = None
) -> None:
    """Print a result: as one JSON document, or as `render` draws it.

    Args:
        document: The result for scripts; records, paths and times are converted.
        as_json: Whether a script reads it.
        render: Draws it for a user.
    """
    if as_json:
        text = json.dumps({"schema_version": SCHEMA_VERSION, **plain(document)}, indent=2)
        sys.stdout.write(text + "\n")
    elif render is not None:
        render(console())


def plain(value: object) -> Any:  # noqa: ANN401 - any record
    """Turn records, paths, times and non-finite numbers into what JSON has.

    Times become ISO 8601 in UTC; NaN and infinities become null.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="milliseconds")
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def with_known_digest(document: dict[str, Any], digest: str = "") -> dict[str, Any]:
    """Return a document with a `model` whose digest is null where it is not known.

    Args:
        document: What `plain` has made of a record.
        digest: What the model's files are, if they were read.

    >>> with_known_digest({"model": {"label": "wine/3", "digest": ""}})
    {'model': {'label': 'wine/3', 'digest': None}}
    """
    model = document["model"]
    if model is None:
        return document
    return {**document, "model": {**model, "digest": digest or model["digest"] or None}}


def asking() -> Callable[[str, Sequence[str]], str] | None:
    """Return a way to ask the user at this terminal; None where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str, choices: Sequence[str]) -> str:
        shown = f"{question} ({', '.join(choices)})" if choices else question
        answer: str = typer.prompt(shown, err=True)
        return answer.strip()

    return ask


def print_error(error: MlopsError) -> None:
    """Print what happened and what to do, on stderr."""
    from rich.markup import escape

    out = console(stderr=True, always=True)
    out.print(f"[bold red]error:[/] {escape(error.message)}")
    if error.hint:
        hint = error.hint.replace("`mlops ", f"`{program()} ")
        out.print(f"[bold cyan] hint:[/] {escape(hint)}")


def next_steps(out: Console, commands: Sequence[str]) -> None:
    """Print what to do now, ready to be copied."""
    if commands:
        from rich.markup import escape

        out.print()
        for command in commands:
            out.print(f"[dim]next:[/] {escape(as_called(command))}", soft_wrap=True)


def age(since_ms: int) -> str:
    """Say how long ago a time was, in the largest sensible unit.

    Args:
        since_ms: Milliseconds since 1970 in UTC.
    """
    seconds = max(0.0, dt.datetime.now(dt.UTC).timestamp() - since_ms / 1000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def plain_table() -> Table:
    """Return a table without lines, for headers that are less than what is below them."""
    from rich.table import Table

    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim")


def moment(time_ms: int) -> str:
    """Write a time as ISO 8601 in UTC, to the second.

    >>> moment(0)
    '1970-01-01T00:00:00Z'
    """
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_bytes(size: int) -> str:
    """Write a number of bytes in the unit a user would choose.

    >>> in_bytes(0), in_bytes(5_300), in_bytes(20_000_000), in_bytes(1_250_000_000)
    ('0 bytes', '5.3 kB', '20 MB', '1.25 GB')
    """
    for unit, name in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")):
        if size >= unit:
            return (
                f"{size / unit:,.3g} {name}" if size < 1000 * unit else f"{size // unit:,} {name}"
            )
    return f"{size} bytes"


def program() -> str:
    """How to call this program from here, as a user would type it.

    Its name where that is what a shell finds, else the path it was called by; absolute where the
    program has changed the folder since.
    """
    found = shutil.which("mlops")
    if _CALLED.name != "mlops" or (found and Path(found).resolve() == _CALLED.resolve()):
        return "mlops"
    return shlex.quote(sys.argv[0] if _is_here(_FOLDER) else str(_CALLED))


def _is_here(folder: str) -> bool:
    return Path(folder).exists() and Path(folder).samefile(Path.cwd())


def absolute_program() -> list[str]:
    """How to call this program from anywhere, without a shell and its PATH."""
    return [str(_CALLED)] if _CALLED.name == "mlops" else [sys.executable, "-m", "mlops"]


def as_called(command: str) -> str:
    """Write an mlops command such that it works where it is printed."""
    return f"{program()} {rest}" if (rest := command.removeprefix("mlops ")) != command else command


def clock() -> str:
    """Return the time of day, as log lines begin with it."""
    return time.strftime("%H:%M:%S")
