"""What is sent, when it is sent again, and what an answer means; without a socket.

An exchange is a generator. It yields a `Request` and is sent the `Response`, or has `Unanswered`
thrown into it; it yields a `Pause` and is resumed when that is over. What it returns is the
result. httpx's authentication is written this way; `mlops.client.http` drives these.

A request is sent again when there was no answer, or when the answer asks to retry
(429, 502, 503, 504). It may have been carried out the first time. A prediction therefore has an
idempotency key, with which a second try gets the same arm and is the same decision; feedback that
comes twice is a duplicate. Pauses double, with full jitter, as in "Exponential Backoff And Jitter"
(AWS Architecture Blog, 2015), and are never shorter than `Retry-After`.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import orjson

from mlops.client.checking import MALFORMED, batches
from mlops.client.records import FeedbackResult, Outcome, Prediction, Refused
from mlops.client.rows import body_of
from mlops.client.scopes import hint_of_scope
from mlops.errors import (
    ConflictError,
    InvalidInputError,
    MlopsError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
)
from mlops.protocols.base import CLIENT_ID_HEADER, MAX_CLIENT_ID, is_client_id

#: Outcomes in one request; the server takes 10,000.
BATCH = 1000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_WAIT_S = 0.2, 5.0, 60.0
_TRY_LATER = frozenset({429, 502, 503, 504})
_ERRORS: Mapping[int, type[MlopsError]] = {
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
}
_MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send; `path` is below the base URL."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Time to wait, in seconds."""

    seconds: float


class Unanswered(Exception):  # noqa: N818 - thrown in, never out
    """A request had no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is sent again.

    Attributes:
        most: Tries after the first.
        draw: Draws from [0, 1).
    """

    most: int = 3
    draw: Any = random.random

    def pause_s(self, attempt: int, asked_s: float) -> float:
        """Return how long to wait before the try after `attempt`, which counts from 0."""
        most = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**attempt)
        return max(float(self.draw()) * most, asked_s)


Steps: TypeAlias = Generator[Request | Pause, Response | None, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """How predictions are asked for, as `mlops.Client.predict` has it."""

    arm: str = ""
    idempotency_key: str = ""
    client_id: str | None = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def sent(self) -> dict[str, str]:
        """Return the headers to send.

        Raises:
            InvalidInputError: The id would not arrive in a header as it is.
        """
        return {
            "content-type": "application/json",
            "idempotency-key": self.idempotency_key or uuid.uuid4().hex,
            **({"x-mlops-arm": self.arm} if self.arm else {}),
            **with_client_id(self.client_id),
            **self.headers,
        }


def with_client_id(own: object) -> dict[str, str]:
    """Return the header with an application's own id of a request; none for None or empty text.

    Raises:
        InvalidInputError: It is not text, or would not arrive in a header as it is.

    >>> with_client_id("order-1001"), with_client_id("")
    ({'x-mlops-client-id': 'order-1001'}, {})
    """
    if own is None:
        return {}
    if not isinstance(own, str):
        raise InvalidInputError(
            f"`client_id` must be text, not {str(own)[:40]} of the type `{type(own).__name__}`.",
            hint="Write a number as text, `client_id=str(order)`, and what is missing as None.",
        )
    if not own:
        return {}
    if not (own.isascii() and is_client_id(own) and own == own.strip()):
        raise InvalidInputError(
            f"`client_id` may have up to {MAX_CLIENT_ID} printable ASCII characters, none of "
            f"them a blank at its ends, not be {own[:40]!r} with its {len(own)}."
        )
    return {CLIENT_ID_HEADER: own}


def predict(
    rows: object, params: Mapping[str, Any] | None, asking: Asking, retries: Retries
) -> Steps:
    """Ask for predictions; returns a `Prediction`."""
    request = Request("POST", "/invocations", body_of(rows, params), asking.sent())
    answer = yield from _tried(request, retries)
    document = _json(answer)
    try:
        values = document["predictions"]
    except (KeyError, TypeError) as error:
        raise RemoteError(f"The answer has no predictions: {answer.body[:200]!r}.") from error
    revision = answer.headers.get("x-mlops-revision", "")
    return Prediction(
        values if isinstance(values, list) else [values],
        answer.headers.get("x-mlops-request-id", ""),
        answer.headers.get("x-mlops-arm", ""),
        int(revision) if revision.isascii() and revision.isdecimal() else 0,
    )


def send(outcomes: Sequence[Outcome], headers: Mapping[str, str], retries: Retries) -> Steps:
    """Send outcomes in batches; returns a `FeedbackResult`. What is malformed is not sent."""
    bodies, malformed = batches(outcomes, BATCH)
    total = FeedbackResult({MALFORMED: len(malformed)} if malformed else {}, malformed)
    for body, indices in bodies:
        request = Request(
            "POST", "/feedback", body, {"content-type": "application/json", **headers}
        )
        answer = yield from _tried(request, retries, results=True)
        total += _result(_json(answer), indices)
    return replace(total, refused=tuple(sorted(total.refused, key=lambda each: each.index)))


def is_ready(headers: Mapping[str, str]) -> Steps:
    """Ask whether every arm can answer; returns a bool. Asked once."""
    try:
        answer = yield Request("GET", "/ready", headers=headers)
    except Unanswered:
        return False
    return answer is not None and answer.status == 200


def _tried(
    request: Request, retries: Retries, *, results: bool = False
) -> Generator[Request | Pause, Response | None, Response]:
    """Send a request until there is a final answer.

    Args:
        request: What to send.
        retries: How often.
        results: Whether an unsuccessful answer may still have the status of each outcome.
    """
    for attempt in range(retries.most + 1):
        last = attempt == retries.most
        try:
            answer = yield request
        except Unanswered as error:
            if last:
                raise RemoteError(str(error), reason="unanswered") from error
            yield Pause(retries.pause_s(attempt, 0.0))
            continue
        assert answer is not None
        if answer.status < 300 or (results and _has_results(answer)):
            return answer
        if last or answer.status not in _TRY_LATER:
            raise _error(request, answer)
        yield Pause(retries.pause_s(attempt, _asked_s(answer)))
    raise AssertionError("the last try returns or raises")


def _error(request: Request, answer: Response) -> MlopsError:
    said = f"{request.path}: {answer.status} {_detail(answer)}".rstrip()
    if answer.status < 400:
        where = answer.headers.get("location", "").partition("?")[0]
        return RemoteError(
            f"{said} to `{where}`.", hint="Redirects are not followed: write that URL."
        )
    if answer.status >= 500 or answer.status == 429:
        return RemoteError(said, reason="busy" if answer.status in _TRY_LATER else "")
    hint = hint_of_scope(said) if answer.status == 403 else None
    return _ERRORS.get(answer.status, InvalidInputError)(said, hint=hint)


def _detail(answer: Response) -> str:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return answer.body[:_MAX_DETAIL].decode(errors="replace").strip()
    if not isinstance(document, dict):
        return str(document)[:_MAX_DETAIL]
    found = document.get("error") or document.get("message") or document
    return str(found)[:_MAX_DETAIL]


def _has_results(answer: Response) -> bool:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and {"counts", "problems"} <= document.keys()


def _result(document: Any, indices: Sequence[int]) -> FeedbackResult:  # noqa: ANN401 - a JSON value
    try:
        return FeedbackResult(
            dict(document["counts"]),
            tuple(
                Refused(
                    indices[int(each["index"])],
                    _status(each),
                    str(each["error"]),
                )
                for each in document.get("problems", ())
            ),
            tuple(map(str, document.get("warnings", ()))),
            int(document.get("after_window", 0)),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise RemoteError(f"The answer to feedback is not one: {document}.") from error


def _status(problem: Mapping[str, Any]) -> str:
    # A server of an earlier version has `fate` alone.
    return str(problem.get("status") or problem["fate"])


def _json(answer: Response) -> Any:  # noqa: ANN401 - a JSON value
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise RemoteError(
            f"The answer is not JSON: {answer.body[:80]!r}.",
            hint="Is it the URL of a deployment, or of a login page?",
        ) from error


def _asked_s(answer: Response) -> float:
    """Return what `Retry-After` asks for, in seconds, at most a minute (RFC 9110, 10.2.3)."""
    text = answer.headers.get("retry-after", "")
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_WAIT_S)
    import email.utils

    try:
        when = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return 0.0
    return min(max(0.0, when - time.time()), _LONGEST_WAIT_S)
