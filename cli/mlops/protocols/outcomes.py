"""Feedback in our own form, as a server reads it and a client checks it before it is sent."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import orjson

from mlops.protocols.base import (
    MAX_CLIENT_ID,
    MAX_OUTCOMES,
    MAX_TRUTH,
    Kind,
    Outcome,
    ProtocolError,
    is_client_id,
)

_MAX_ROW = 1_000_000
_MAX_ID = 10_000
_A_LIST = (
    'an object is expected, not a list: put it into `outcomes`, as in `{"outcomes": [...]}`, or '
    "send one object a line as `application/x-ndjson`"
)


def read_outcomes(body: bytes, content_type: str) -> list[Outcome]:
    """Read feedback in our own form.

    One JSON object with `request_id` (or `client_id`), `reward` or `truth` or both, and
    optionally `row` and `outcome_id`; or an object with a list of them in `outcomes`; or, as
    `application/x-ndjson`, one object a line. A `truth` or `reward` that is a list holds one
    value per row of the request; with `row` a `truth` that is a list, and always one that is an
    object, holds one value per output of the model. What a list without `row` holds for a model
    with several outputs is not known here: it is read as one value per row.

    Raises:
        ProtocolError: `MALFORMED` or `TOO_LARGE`; nothing of the body may be used.
    """
    return outcomes_of(_documents(body, content_type))


def outcomes_of(documents: Iterable[tuple[str, Any]]) -> list[Outcome]:
    """Read feedback that has been taken apart.

    Args:
        documents: The JSON value of each outcome, and how an error names it.

    Raises:
        ProtocolError: As `read_outcomes`.
    """
    outcomes: list[Outcome] = []
    for where, document in documents:
        outcomes += _outcomes(document, where)
        _check_count(len(outcomes))
    if not outcomes:
        raise ProtocolError(Kind.MALFORMED, "There is no feedback in this request.")
    return outcomes


def read_line(line: bytes) -> list[Outcome]:
    """Read one line of NDJSON; a list in it is an outcome per row.

    Raises:
        ProtocolError: It is not feedback; the message says what is wrong and not where.
    """
    return _outcomes(_json(line, ""), "")


def _documents(body: bytes, content_type: str) -> Iterator[tuple[str, Any]]:
    """Yield the JSON value of each outcome, and how an error names it."""
    if "ndjson" in content_type:
        for number, line in enumerate(io.BytesIO(body), 1):
            if line.strip():
                where = f"line {number}: "
                yield where, _json(line, where)
        return
    document = _json(body, "")
    if isinstance(document, list):
        raise ProtocolError(Kind.MALFORMED, _A_LIST)
    if not isinstance(document, dict) or "outcomes" not in document:
        yield "", document
    elif isinstance(document["outcomes"], list):
        for number, each in enumerate(document["outcomes"]):
            yield f"feedback {number}: ", each


def _check_count(count: int) -> None:
    if count > MAX_OUTCOMES:
        raise ProtocolError(
            Kind.TOO_LARGE, f"More than {MAX_OUTCOMES} outcomes in one request; send fewer."
        )


def _json(text: bytes, where: str) -> Any:  # noqa: ANN401 - a JSON value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # A line of NDJSON has a number of its own; "line 1" of it would mislead.
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise ProtocolError(Kind.MALFORMED, f"{where}not JSON: {error.msg}, {place}") from None


def _outcomes(document: object, where: str) -> list[Outcome]:
    def fault(text: str) -> ProtocolError:
        return ProtocolError(Kind.MALFORMED, f"{where}{text}")

    if not isinstance(document, dict):
        raise fault(f"an object is expected, not {_shown(document)}")
    unknown = set(document) - {"request_id", "client_id", "outcome_id", "row", "reward", "truth"}
    if unknown:
        raise fault(f"unknown key {_shown(min(unknown))}")
    ids = {name: document.get(name) for name in ("request_id", "client_id", "outcome_id")}
    for name, value in ids.items():
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= _MAX_ID):
            raise fault(f"`{name}` must be text, not {_shown(value)}")
    if ids["outcome_id"] is not None and not is_client_id(ids["outcome_id"]):
        # PostgreSQL takes no NUL, and would refuse what others sent in that moment, too.
        raise fault(f"`outcome_id` must be up to {MAX_CLIENT_ID} printable characters")
    if ids["request_id"] is None and ids["client_id"] is None:
        raise fault("`request_id` is missing")
    row = document.get("row")
    if row is not None and (
        isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < _MAX_ROW
    ):
        raise fault(f"`row` must be a whole number from 0, not {_shown(row)}")
    try:
        pairs = _pairs(document.get("reward"), document.get("truth"), row)
    except ValueError as error:
        raise fault(str(error)) from None
    # An id of our own decides; the client's is then only its label.
    client_id = None if ids["request_id"] else ids["client_id"]
    return [
        Outcome(ids["request_id"], client_id, *pair, ids["outcome_id"], of_rows, pairs)
        for pair, of_rows in pairs
    ]


#: Row, reward and truth, and how many rows the request must have.
_Pair: TypeAlias = tuple[tuple[int | None, float | None, Any], int]


def _pairs(reward: Any, truth: Any, row: int | None) -> list[_Pair]:  # noqa: ANN401 - JSON values
    if reward is None and truth is None:
        raise ValueError("`reward` or `truth` is needed")
    if isinstance(reward, list) and row is not None:
        raise ValueError("a list of rewards holds one per row and goes without `row`")
    if not isinstance(reward, list) and not (isinstance(truth, list) and row is None):
        several = isinstance(truth, dict) and row is None
        return [((row, _reward(reward), _truth(truth)), int(several))]
    size = len(reward if isinstance(reward, list) else truth)
    _check_count(size)
    rewards = reward if isinstance(reward, list) else [reward] * size
    truths = truth if isinstance(truth, list) else [truth] * size
    if len(rewards) != len(truths) or not size:
        raise ValueError("`reward` and `truth` must have one value per row")
    if len({outputs_of(each) for each in truths if each is not None}) > 1:
        raise ValueError("the truths of a list must be single values, or all of the same outputs")
    pairs: list[_Pair] = [
        ((i, _reward(r), _truth(t)), size)
        for i, (r, t) in enumerate(zip(rewards, truths, strict=True))
    ]
    # Null says that a row is not known yet; stored, it would make the real one a duplicate.
    known = [(each, of) for each, of in pairs if each[1] is not None or each[2] is not None]
    if not known:
        raise ValueError("every row is null")
    return known


def _reward(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a reward must be a finite number, not {_shown(value)}")
    return float(value)


def outputs_of(truth: object) -> object:
    """Return which outputs a truth has: their number, or names; None for a single value."""
    if isinstance(truth, dict):
        return tuple(sorted(truth))
    return len(truth) if isinstance(truth, list) else None


def _truth(value: object) -> Any:  # noqa: ANN401 - a JSON value
    if not isinstance(value, dict | list):
        return _single(value)
    if isinstance(value, dict) and any(len(name) > MAX_TRUTH for name in value):
        raise ValueError(f"the name of an output has at most {MAX_TRUTH:,} characters")
    for each in value.values() if isinstance(value, dict) else value:
        if each is None:
            raise ValueError("a truth has a value for each output, and null is none")
        _single(each)
    if not 1 < len(value) <= MAX_OUTCOMES:
        raise ValueError(f"a list or an object of outputs has 2 to {MAX_OUTCOMES:,} values")
    return value


def _single(value: object) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict | list) or (isinstance(value, str) and len(value) > MAX_TRUTH):
        raise ValueError("a truth must be a number, a text or a boolean, or one for each output")
    # Protocol Buffers have them.
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a truth must be a finite number")
    return value


def _shown(value: object) -> str:
    # NumPy comes with it, and a client that sends feedback does without.
    from mlops.protocols.json_body import shown

    return shown(value)
