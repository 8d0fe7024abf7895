"""Feedback as Protocol Buffers: the messages of `mlops.v1.Feedback`, see `feedback.proto`."""

from __future__ import annotations

from typing import Any

from mlops.protocols.base import Outcome
from mlops.protocols.outcomes import outcomes_of
from mlops.protocols.protobuf import Message


def read_feedback(message: Message) -> list[Outcome]:
    """Read a `FeedbackRequest`; what holds for feedback in JSON holds for it too.

    Raises:
        ProtocolError: `MALFORMED` or `TOO_LARGE`; nothing of the message may be used.
    """
    many = len(message.outcomes) > 1
    return outcomes_of(
        (f"feedback {number}: " if many else "", _document(outcome))
        for number, outcome in enumerate(message.outcomes)
    )


def _document(outcome: Message) -> dict[str, Any]:
    """Return one outcome as the object that it is in JSON."""
    truth = outcome.WhichOneof("truth")
    fields = {field.name: value for field, value in outcome.ListFields()}
    document = {name: fields[name] for name in _NAMES if name in fields}
    if truth is None:
        return document
    value = getattr(outcome, truth)
    if truth == "values":
        outputs = [_value(each) for each in value.values]
        # Without a row, the only row of its request is meant.
        return {**document, "truth": outputs if "row" in document else [outputs]}
    if truth == "named_values":
        value = {name: _value(each) for name, each in value.values.items()}
    return {**document, "truth": value}


def _value(value: Message) -> Any:  # noqa: ANN401 - a JSON value
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


_NAMES = ("request_id", "client_id", "outcome_id", "row", "reward")
