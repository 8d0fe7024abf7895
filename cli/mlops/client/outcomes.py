"""Outcomes that happened elsewhere: one by hand, or a stream of NDJSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mlops.client.connection import Connection
from mlops.protocols.base import MAX_OUTCOMES, Kind, ProtocolError
from mlops.protocols.outcomes import read_line

_BATCH = 1_000
_MAX_LINE = 100_000
_MAX_WARNINGS = 20
_MALFORMED = "malformed"
_TAKEN = ("accepted", "unmatched", "duplicate", "late", "sent")


#: A line of NDJSON, or why a line of a table is no outcome.
Line: TypeAlias = bytes | ProtocolError


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
        after_window: How many were stored and do not count, since they came after their feedback
            window.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    unknown_labels: int = 0
    after_window: int = 0


def refused(counts: Mapping[str, int]) -> int:
    """How many outcomes were not stored.

    >>> refused({"accepted": 3, "late": 1, "forged": 2})
    2
    """
    return sum(count for fate, count in counts.items() if fate not in _TAKEN)


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
    connection: Connection, lines: Iterable[Line], on_progress: Callable[[Counter[str]], None]
) -> Sent:
    """Send NDJSON, one outcome a line, in batches; an invalid line is reported and not sent.

    Sending all of them again is harmless, since feedback that came before is a duplicate.
    """
    sent, batch = Sent(), _Batch()
    for number, line in enumerate(lines, start=1):
        if isinstance(line, bytes) and not line.strip():
            continue
        try:
            if isinstance(line, ProtocolError):
                raise line
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
    sent.after_window += answer.get("after_window", 0)
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
