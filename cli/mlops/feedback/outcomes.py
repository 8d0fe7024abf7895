"""Outcomes that happened elsewhere: one by hand, or a stream of NDJSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from mlops.errors import InvalidInputError
from mlops.feedback.connection import Connection

_BATCH = 1_000
_MAX_LINE = 100_000


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
        outcome["truth"] = _value(truth)
    answer: dict[str, Any] = connection.post("/feedback", json.dumps(outcome).encode())[0]
    return answer


def send_lines(
    connection: Connection, lines: Iterable[bytes], on_progress: Callable[[Counter[str]], None]
) -> Counter[str]:
    """Send NDJSON, one outcome a line, in batches; return the fates.

    Lines before a bad one have been sent when it is found; sending all of them again is harmless,
    since feedback that came before is a duplicate.

    Raises:
        InvalidInputError: A line is not an outcome; its number is named.
    """
    total: Counter[str] = Counter()
    batch: list[bytes] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        batch.append(_checked(line, number))
        if len(batch) == _BATCH:
            total += _post(connection, batch)
            on_progress(total)
    total += _post(connection, batch)
    on_progress(total)
    return total


def _post(connection: Connection, batch: list[bytes]) -> Counter[str]:
    if not batch:
        return Counter()
    body = b"\n".join(batch)
    answer, _ = connection.post("/feedback", body, content_type="application/x-ndjson")
    batch.clear()
    return Counter(answer["counts"])


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


def _value(text: str) -> float | str | bool:
    """Read a truth from the command line: a number or boolean if it looks like one."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text
