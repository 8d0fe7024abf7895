"""Outcomes that happened elsewhere: one by hand, or a stream of NDJSON."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops.client.connection import Connection
from mlops.client.replay_data import place_of
from mlops.errors import InvalidInputError, unreadable
from mlops.protocols.base import MAX_OUTCOMES, Kind, ProtocolError
from mlops.protocols.outcomes import read_line
from mlops.tables import Table, read_path
from mlops.tables.cells import LABEL, typed
from mlops.tables.signature import Column, Signature

_BATCH = 1_000
_MAX_LINE = 100_000
_MAX_WARNINGS = 20
_MALFORMED = "malformed"
_IDS = frozenset({"request_id", "client_id"})
# Labels that are shown where they are texts among numbers.
_STRAYS, _LONGEST_STRAY = 10, 40
_IN_TABLE = ("request_id", "client_id", "outcome_id", "row", "reward")
_TAKEN = ("accepted", "unmatched", "duplicate", "late", "sent")


def send_one(
    connection: Connection,
    request_id: str,
    *,
    row: int | None,
    reward: float | None,
    truth: str | None,
) -> dict[str, Any]:
    """Send feedback about one request and return its status.

    Raises:
        InvalidInputError: The id is not of this deployment, or the feedback is malformed.
    """
    outcome: dict[str, Any] = {"request_id": request_id}
    if row is not None:
        outcome["row"] = row
    if reward is not None:
        outcome["reward"] = reward
    if truth is not None:
        outcome["truth"] = read_truth(truth)
    answer: dict[str, Any] = connection.post_harmless("/feedback", json.dumps(outcome).encode())[0]
    return answer


@dataclass(frozen=True, slots=True)
class Problem:
    """An outcome that was not stored.

    Attributes:
        line: Its line in the stream, from 1.
        status: Its status.
        error: Why.
        fate: The same as `status`; its name before, deprecated.
    """

    line: int
    status: str
    error: str
    fate: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fate", self.status)


@dataclass(slots=True)
class Sent:
    """The result of a stream.

    Attributes:
        counts: Outcomes by status.
        problems: Those that were not stored, by line; of each batch the first thousand.
        warnings: What the server warns of, each thing once; the first twenty.
        unknown_labels: How many truths are no class of the models, and count as wrong answers.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    unknown_labels: int = 0


def refused(counts: Mapping[str, int]) -> int:
    """How many outcomes were not stored.

    >>> refused({"accepted": 3, "late": 1, "forged": 2})
    2
    """
    return sum(count for fate, count in counts.items() if fate not in _TAKEN)


def is_stream(data: str) -> bool:
    """Whether `--data` names outcomes: standard input, or a file of NDJSON.

    >>> is_stream("-"), is_stream("late.ndjson"), is_stream("rows.csv")
    (True, True, False)
    """
    return data == "-" or data.lower().endswith((".ndjson", ".jsonl"))


def has_outcomes(data: str) -> bool:
    """Whether a file is a table of outcomes: it has a column with the ids of requests."""
    path = Path(data)
    if not data or not path.is_file():
        return False
    try:
        return not _IDS.isdisjoint(read_path(path, _signature(())).names)
    except InvalidInputError:
        return False


@contextlib.contextmanager
def open_lines(
    data: str, truth_columns: Sequence[str] = (), note: Callable[[str], None] = lambda _: None
) -> Iterator[Iterable[bytes]]:
    """Open what `is_stream` says is a stream, or a table of outcomes.

    Args:
        data: The file, or `-` for standard input.
        truth_columns: Columns of a table with the label of each output; `truth` by default.
        note: Called with what the user should know about the file.

    Raises:
        InvalidInputError: The file cannot be read, or has neither labels nor rewards.
    """
    if not is_stream(data):
        labels = truth_columns or ("truth",)
        table = read_path(Path(data), _signature(labels))
        if unused := [name for name in table.names if name not in (*_IN_TABLE, *labels)]:
            names = ", ".join(f"`{name}`" for name in unused)
            note(f"not used of `{data}`: {names}. The time of an outcome is when it arrives.")
        for text in filter(None, (_strays(table, name) for name in labels)):
            note(text)
        yield _lines_of(table, labels, data)
        return
    if data == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(data).open("rb")  # noqa: SIM115 - it ends below
    except OSError as error:
        raise unreadable(data, error) from error
    with file:
        yield file


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


def _lines_of(table: Table, truth_columns: Sequence[str], data: str) -> Iterator[bytes]:
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
        # What is blank is counted and not sent.
        yield from [b""] * (line - written - 1)
        cells = {name: table.columns[name][row] for name in names}
        if "reward" in cells:
            cells["reward"] = _reward(cells["reward"])
        truths = {name: table.columns[name][row] for name in truth_columns if not absent}
        if any(cell is not None for cell in truths.values()):
            cells["truth"] = truths if several else truths[truth_columns[0]]
        yield json.dumps({key: cell for key, cell in cells.items() if cell is not None}).encode()
        written = max(line, written + 1)


@dataclass(slots=True)
class _Batch:
    """Lines to send at once, and how many outcomes the server makes of each."""

    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def has_room(self, outcomes: int) -> bool:
        return len(self.lines) < _BATCH and len(self.numbers) + outcomes <= MAX_OUTCOMES

    def add(self, number: int, line: bytes, outcomes: int) -> None:
        self.lines.append(line)
        # The server counts each row of a list.
        self.numbers += [number] * outcomes


def send_lines(
    connection: Connection, lines: Iterable[bytes], on_progress: Callable[[Counter[str]], None]
) -> Sent:
    """Send NDJSON, one outcome a line, in batches; an invalid line is reported and not sent.

    Sending all of them again is harmless, since feedback that came before is a duplicate.
    """
    sent, batch = Sent(), _Batch()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            outcomes = outcomes_in(line.strip())
        except ProtocolError as error:
            sent.counts[_MALFORMED] += 1
            sent.problems.append(Problem(number, _MALFORMED, str(error)))
            continue
        if not batch.has_room(outcomes):
            _post(connection, batch, sent)
            on_progress(sent.counts)
            batch = _Batch()
        batch.add(number, line.strip(), outcomes)
    _post(connection, batch, sent)
    on_progress(sent.counts)
    sent.problems.sort(key=lambda problem: problem.line)
    return sent


def _post(connection: Connection, batch: _Batch, sent: Sent) -> None:
    if not batch.lines:
        return
    body = b"\n".join(batch.lines)
    answer, _ = connection.post_harmless(
        "/feedback", body, content_type="application/x-ndjson", fates=True
    )
    sent.counts += Counter(answer["counts"])
    sent.unknown_labels += answer.get("unknown_labels", 0)
    for text in answer.get("warnings", ()):
        # Each of a million labels may be misspelt in its own way.
        if len(sent.warnings) < _MAX_WARNINGS:
            sent.warnings[text] = None
    sent.problems += [
        # A server of an earlier version has `fate` alone.
        Problem(batch.numbers[each["index"]], each.get("status") or each["fate"], each["error"])
        for each in answer.get("problems", ())
    ]


def outcomes_in(line: bytes) -> int:
    """How many outcomes the server makes of a line.

    Raises:
        ProtocolError: It would refuse the line, and with it all that is sent at once.
    """
    if len(line) > _MAX_LINE:
        raise ProtocolError(Kind.TOO_LARGE, f"longer than {_MAX_LINE:,} bytes")
    return len(read_line(line))


def read_truth(text: str) -> Any:  # noqa: ANN401 - a JSON value
    """Read a truth from the command line: what it looks like, else text.

    >>> read_truth("6"), read_truth("red"), read_truth("[5, 6]"), read_truth('{"a": 5, "b": 6}')
    (6, 'red', [5, 6], {'a': 5, 'b': 6})
    """
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool | list | dict) else text
