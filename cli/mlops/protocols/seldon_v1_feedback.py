"""Seldon Core v1, protocol `seldon`: feedback.

`Feedback` is `{request, response, reward, truth}`. Upstream finds the model by
`response.meta.routing`; here `response.meta` names the prediction itself, by the `puid` that the
answer carried or, beside a client's own, by `requestPath.mlops_request_id`. So a reward reaches the
arm that earned it however often the gateway draws again. Unlike upstream, a reward of 0 counts.

Specification: `proto/prediction.proto`, `python/seldon_core/seldon_methods.py` and `metrics.py`
of seldon-core 1.18.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Encoded, Outcome
from mlops.protocols.json_body import kind_of, malformed, shown, write
from mlops.protocols.seldon_v1 import REQUEST_ID_KEY, failure, read_message_object
from mlops.protocols.seldon_v1_truth import read_truths

#: The form of the ids that the router mints; whether it minted this one is checked there.
_OURS = re.compile(r"[A-Za-z0-9_-]{48}")
_KEYS = {"request", "response", "reward", "truth"}


def decode_feedback(
    body: bytes, headers: Mapping[str, str], *, in_graph: bool = False
) -> list[Outcome]:
    """Read one `Feedback`.

    Truth gives one outcome per row that has one (null and NaN are none); a reward with the truth
    of a single row is part of that outcome, any other reward one of its own, for the whole
    request. Neither reward nor truth is the reward 0: clients that write protobuf as JSON, as
    Seldon's own does, leave a 0 out.

    Args:
        body: The whole body.
        headers: Header names in lower case; `seldon-puid` counts if the body names no id.
        in_graph: Whether the answer came from another node of a graph: then an id of a router in it
            is that node's.

    Returns:
        At least one outcome, all of one prediction.

    Raises:
        ProtocolError: `MALFORMED`: it names no prediction, or reward or truth cannot be read.
    """
    document = read_message_object(body, headers)
    if not document.keys() <= _KEYS:
        raise malformed(f"Feedback has no key {shown(min(document.keys() - _KEYS))}.")
    request_id, client_id = _read_id(document, headers, in_graph=in_graph)
    reward = _read_reward(document.get("reward"))
    truths = read_truths(document.get("truth"))
    if len(truths) == 1:
        return [Outcome(request_id, client_id, 0, reward, truths[0])]
    outcomes = [
        Outcome(request_id, client_id, row, None, truth, of_rows=len(truths), of_list=truths)
        for row, truth in enumerate(truths)
        if truth is not None
    ]
    if reward is not None or not outcomes:
        outcomes.insert(0, Outcome(request_id, client_id, None, reward or 0.0))
    return outcomes


def encode_feedback(counts: Mapping[str, int], http_status: int = 200, info: str = "") -> Encoded:
    """Write the wrapper's empty answer, with `counts` (accepted, duplicate, ...) as tags.

    Args:
        counts: How many there are of each status.
        http_status: Another than 200 for a single piece of feedback that was not stored: Seldon's
            client then has `success = False`.
        info: Why it was not.
    """
    answer: dict[str, Any] = {"data": {"ndarray": []}, "meta": {"tags": dict(counts)}}
    if http_status != 200:
        answer["status"] = failure(info, is_bad_data=http_status < 500)
    return Encoded(http_status, write(answer))


def _read_id(
    document: Mapping[str, Any], headers: Mapping[str, str], *, in_graph: bool
) -> tuple[str | None, str | None]:
    """Find the router's id of the prediction, else the client's.

    What `requestPath` has is the router's for certain. A puid is whichever of the two the answer
    carried.
    """
    meta = _meta(document, "response")
    path = meta.get("requestPath") or {}
    if type(path) is not dict:
        raise malformed(f"`response.meta.requestPath` must be an object, not {kind_of(path)}.")
    ours = _id(path.get(REQUEST_ID_KEY), f"response.meta.requestPath.{REQUEST_ID_KEY}")
    if ours is not None and not in_graph:
        return ours, None
    puid = (
        _id(meta.get("puid"), "response.meta.puid")
        or _id(_meta(document, "request").get("puid"), "request.meta.puid")
        or headers.get("seldon-puid")
    )
    if not puid:
        hint = "send `response.meta` as the prediction had it, or the header `seldon-puid`"
        raise malformed(f"The feedback does not say which prediction it is about; {hint}.")
    return (puid, None) if _OURS.fullmatch(puid) else (None, puid)


def _meta(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return `meta` of the message under `key`; empty if there is none."""
    message = document.get(key)
    if message is not None and type(message) is not dict:
        raise malformed(f"`{key}` must be an object, not {kind_of(message)}.")
    meta = (message or {}).get("meta")
    if meta is not None and type(meta) is not dict:
        raise malformed(f"`{key}.meta` must be an object, not {kind_of(meta)}.")
    return meta or {}


def _id(value: object, where: str) -> str | None:
    """Return an id; an empty string, protobuf's default, is none."""
    if value is not None and type(value) is not str:
        raise malformed(f"`{where}` must be a string, not {kind_of(value)}.")
    return value or None


def _read_reward(value: object) -> float | None:
    """Read a finite number; numeric strings are numbers in protobuf's JSON."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise malformed(f"`reward` must be a number, not {kind_of(value)}.")
    try:
        reward = float(value)
    except ValueError as error:
        raise malformed(f"`reward` must be a number, not {shown(value)}.") from error
    if not math.isfinite(reward):
        raise malformed(f"`reward` must be finite, not {shown(value)}.")
    return reward
