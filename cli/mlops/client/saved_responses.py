"""Outcomes of Seldon v1 that come later: the answer was kept, and its reward is known now.

A kept answer is Seldon's own, or a document that holds it as `response`, beside `request` if that
was kept too: a `Feedback` of Seldon's, or what `mlops predict --json` printed. Bandit routers of
Seldon's take the number of rows from the request, so keep it for them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mlops.client.outcomes import Line, Sent
from mlops.client.seldon import Outcome, SeldonClient
from mlops.client.seldon_answer import malformed
from mlops.errors import InvalidInputError, MlopsError, RemoteError, unreadable
from mlops.protocols.base import ProtocolError

_EVERY = 100
# Other keys of `mlops predict --json` are allowed.
_PREDICTED = {
    "schema_version", "name", "predictions", "request_id", "arm", "revision", "reward_name"
}  # fmt: skip
_KEYS = {"response", "request", "truth", "reward", *_PREDICTED}
_FORM = '{"response": {…}, "request": {…}, "reward": 1}'


def read_saved(path: str, text: str | None = None) -> Outcome:
    """Read one kept answer.

    Args:
        path: The file.
        text: What it holds, if that has been read.

    Raises:
        InvalidInputError: The file cannot be read, or holds no answer of Seldon's.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8") if text is None else text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise unreadable(path, error) from error
    return _outcome(document, f"`{path}`")


def send_saved(
    client: SeldonClient, lines: Iterable[Line], on_progress: Callable[[Counter[str]], None]
) -> Sent:
    """Send one outcome a line; the lines before a bad one have been sent when it is found.

    Raises:
        MlopsError: A line is invalid, or Seldon refuses it; its number is named, since Seldon
            counts what is sent again as new.
    """
    sent = Sent()
    for number, line in enumerate(lines, start=1):
        if isinstance(line, ProtocolError):
            raise _at(InvalidInputError(f"{line}."), number, sent.counts["sent"])
        if not line.strip():
            continue
        try:
            client.tell(_outcome(_object(line), f"Line {number}", told=True))
        except MlopsError as error:
            raise _at(error, number, sent.counts["sent"]) from error
        except KeyboardInterrupt:
            client.say(f"{_go_on(number, sent.counts['sent'])}, which may have been counted too.")
            raise
        sent.counts["sent"] += 1
        if sent.counts["sent"] % _EVERY == 0:
            on_progress(sent.counts)
    on_progress(sent.counts)
    return sent


def _at(error: MlopsError, number: int, sent: int) -> MlopsError:
    """Say which line failed, and how to continue."""
    prefix = f"Line {number}: "
    message = error.message.removeprefix(f"Line {number} ")
    # Without an answer the client does not know whether it counts.
    unsure = isinstance(error, RemoteError) and error.reason == "unanswered"
    doubt = ", which may have been counted too." if unsure else "."
    rest = _go_on(number, sent) + doubt if sent or unsure else ""
    hint = " ".join(part for part in (error.hint, rest) if part)
    return type(error)(prefix + message, hint=hint or None, reason=error.reason)


def _go_on(number: int, sent: int) -> str:
    return f"{sent} sent before count, and would count twice: continue from line {number}"


def _object(line: bytes) -> Any:  # noqa: ANN401 - a JSON value
    try:
        return json.loads(line)
    except ValueError as error:
        raise InvalidInputError(f"it is not JSON: {error}.", hint=f"Write `{_FORM}`.") from error


def _outcome(document: object, where: str, *, told: bool = False) -> Outcome:
    """Read an outcome.

    Args:
        document: JSON data.
        where: What to call it in an error.
        told: Whether it must have a reward or a truth.
    """
    if not isinstance(document, dict):
        raise InvalidInputError(f"{where} holds no JSON object.", hint=f"Write `{_FORM}`.")
    response = document.get("response", None if told else document)
    request = document.get("request") if "response" in document else None
    if not isinstance(response, dict) or not ({"data", "jsonData", "meta"} & response.keys()):
        given = (
            " A request id is not enough: it has no routing." if "request_id" in document else ""
        )
        raise InvalidInputError(
            f"{where} has no answer of Seldon's.{given}",
            hint="Keep the whole answer with its `meta`: Seldon credits a reward by "
            f"`meta.routing`. Write `{_FORM}`.",
        )
    wrong = malformed(response)
    if wrong:
        raise InvalidInputError(f"{where}: `{wrong}` is not an object.")
    if not isinstance(request, dict | None):
        raise InvalidInputError(f"{where}: `request` is not an object.")
    if not told:
        return Outcome(response, request)
    unknown = sorted(document.keys() - _KEYS)
    if unknown:
        raise InvalidInputError(f"{where} has a key `{unknown[0][:40]}`.", hint=f"Write `{_FORM}`.")
    return Outcome(response, request, truths(document.get("truth")), _reward(document, where))


def truths(value: object) -> tuple[Any, ...]:
    """Return the truth of each row: a value, a list of them, or a message of Seldon's.

    Raises:
        InvalidInputError: It looks like such a message and is none.
    """
    if isinstance(value, dict):
        if malformed(value):
            raise InvalidInputError(f"In the truth `{malformed(value)}` is not an object.")
        data: Any = value.get("data") or {}
        tensor = data.get("tensor") or {}
        value = data.get("ndarray", tensor.get("values", value.get("jsonData")))
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    return tuple(each[0] if isinstance(each, list) and len(each) == 1 else each for each in values)


def _reward(document: dict[str, Any], where: str) -> float | None:
    value = document.get("reward")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"{where}: the reward {str(value)[:40]!r} is not a number.")
    return float(value)
