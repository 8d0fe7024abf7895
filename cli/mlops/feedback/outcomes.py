"""Outcomes that happened elsewhere: one by hand, or a stream of NDJSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops.errors import ConflictError, InvalidInputError, NotFoundError
from mlops.feedback.connection import Connection

_BATCH = 1_000
_MAX_LINE = 100_000
_TAKEN = ("accepted", "unmatched", "duplicate", "late", "sent")


def send_one(
    connection: Connection,
    request_id: str,
    *,
    row: int | None,
    reward: float | None,
    truth: str | None,
) -> dict[str, Any]:
    """Send feedback about one request and return what became of it.

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
        fate: What became of it.
        error: Why.
    """

    line: int
    fate: str
    error: str


@dataclass(slots=True)
class Sent:
    """What became of a stream.

    Attributes:
        counts: Outcomes by fate.
        problems: Some of those that were not stored, the first ones of each batch.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


def refused(counts: Mapping[str, int]) -> int:
    """How many outcomes were not stored.

    >>> refused({"accepted": 3, "late": 1, "forged": 2})
    2
    """
    return sum(count for fate, count in counts.items() if fate not in _TAKEN)


def send_lines(
    connection: Connection, lines: Iterable[bytes], on_progress: Callable[[Counter[str]], None]
) -> Sent:
    """Send NDJSON, one outcome a line, in batches.

    Lines before a bad one have been sent when it is found; sending all of them again is harmless,
    since feedback that came before is a duplicate.

    Raises:
        InvalidInputError: A line is not an outcome; its number is named.
    """
    sent = Sent()
    batch: list[tuple[int, bytes]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        batch.append((number, _checked(line, number)))
        if len(batch) == _BATCH:
            _post(connection, batch, sent)
            on_progress(sent.counts)
    _post(connection, batch, sent)
    on_progress(sent.counts)
    return sent


def _post(connection: Connection, batch: list[tuple[int, bytes]], sent: Sent) -> None:
    if not batch:
        return
    body = b"\n".join(line for _, line in batch)
    try:
        answer, _ = connection.post_harmless("/feedback", body, content_type="application/x-ndjson")
    except (InvalidInputError, NotFoundError, ConflictError) as error:
        # Of a single outcome the server tells by its status that it was refused.
        if len(batch) > 1:
            raise
        raise type(error)(f"Line {batch[0][0]}: {error.message}", hint=error.hint) from error
    sent.counts += Counter(answer["counts"])
    problems = answer.get("problems", ())
    if problems:
        # The server counts each row of a list.
        number_of = [number for number, line in batch for _ in range(outcomes_in(line))]
        sent.problems += [
            Problem(number_of[each["index"]], each["fate"], each["error"]) for each in problems
        ]
    batch.clear()


def outcomes_in(line: bytes) -> int:
    """How many outcomes the server makes of a line."""
    document = json.loads(line)
    values = [document.get(key) for key in ("reward", "truth")]
    lists = [value for value in values if isinstance(value, list)]
    if not lists:
        return 1
    rows = zip(*(v if isinstance(v, list) else [v] * len(lists[0]) for v in values), strict=True)
    return sum(any(value is not None for value in row) for row in rows)


def _checked(line: bytes, number: int) -> bytes:
    """Find a broken line here, where its number in the whole stream is known."""
    try:
        document = json.loads(line) if len(line) <= _MAX_LINE else None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidInputError(
            f"Line {number} is not a JSON object: {line[:80]!r}.",
            hint='Write `{"request_id": "…", "reward": 1}` or `{"request_id": "…", "truth": 6}`.',
        )
    return line.strip()


def read_truth(text: str) -> Any:  # noqa: ANN401 - a JSON value
    """Read a truth from the command line: what it looks like, else text.

    >>> read_truth("6"), read_truth("red"), read_truth("[5, 6]")
    (6, 'red', [5, 6])
    """
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool | list) else text
