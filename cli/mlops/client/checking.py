"""What an application sends as feedback, read as a server will read it, before it is sent.

A server refuses a whole request in which one outcome is malformed; here that one is refused, and
the others go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from mlops.client.records import Outcome, Refused
from mlops.client.rows import to_json
from mlops.errors import InvalidInputError

#: As `mlops feedback` calls them; no server is asked.
MALFORMED = "malformed"


def listed(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return outcomes as a list.

    Raises:
        InvalidInputError: They are one outcome, or something else.
    """
    if isinstance(outcomes, Outcome):
        raise InvalidInputError(
            "This is one `Outcome`, and several are taken.", hint="Give a list: `[outcome]`."
        )
    if not isinstance(outcomes, Iterable):
        raise InvalidInputError(
            f"Feedback cannot be of the type `{type(outcomes).__name__}`.",
            hint='Give a list: `[Outcome(request_id="...", truth=6)]`.',
        )
    several = list(outcomes)
    for index, each in enumerate(several):
        if not isinstance(each, Outcome):
            raise InvalidInputError(
                f"Feedback {index} is of the type `{type(each).__name__}`, not an `Outcome`.",
                hint='Write `Outcome(request_id="...", truth=6)`; of a mapping, `Outcome(**row)`.',
            )
    return several


def batches(
    outcomes: Sequence[Outcome], size: int
) -> tuple[list[tuple[bytes, list[int]]], tuple[Refused, ...]]:
    """Write outcomes as the bodies of requests.

    Args:
        outcomes: Any number.
        size: Most of them in one request.

    Returns:
        Each body, with the index in `outcomes` of each outcome that the server makes of it, a row
        of a list being one; and what is malformed and in none of them.
    """
    # A client that only predicts does not pay for these imports.
    from mlops.protocols.base import MAX_OUTCOMES, ProtocolError
    from mlops.protocols.outcomes import read_line

    bodies: list[tuple[bytes, list[int]]] = []
    refused: list[Refused] = []
    texts: list[bytes] = []
    indices: list[int] = []

    def close() -> None:
        if texts:
            bodies.append((b'{"outcomes":[' + b",".join(texts) + b"]}", indices.copy()))
        texts.clear()
        indices.clear()

    for index, outcome in enumerate(outcomes):
        try:
            text = _text(outcome)
            count = len(read_line(text))
        except (InvalidInputError, ProtocolError) as error:
            refused.append(Refused(index, MALFORMED, _reason(outcome, str(error))))
            continue
        if len(texts) == size or len(indices) + count > MAX_OUTCOMES:
            close()
        texts.append(text)
        indices += [index] * count
    close()
    return bodies, tuple(refused)


def _text(outcome: Outcome) -> bytes:
    # JSON has no infinity: null would say that the row is not known yet.
    for name in ("reward", "truth"):
        if _is_infinite(getattr(outcome, name)):
            raise InvalidInputError(f"a {name} must be a finite number, and infinity is none")
    return to_json(outcome.document())


def _reason(outcome: Outcome, error: str) -> str:
    given = next((name for name in ("truth", "reward") if getattr(outcome, name) is not None), "")
    if given and error.endswith("is needed"):
        return f"{error}, and the {given} is a missing value"
    return error


def _is_infinite(value: object) -> bool:
    if isinstance(value, float | Decimal):
        return math.isinf(value)
    if isinstance(value, Mapping):
        return any(map(_is_infinite, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_is_infinite, value))
    # Arrays and numbers of NumPy, Series of pandas.
    return hasattr(value, "tolist") and _is_infinite(value.tolist())
