"""Which arm a request gets, repeatably.

The number that decides is drawn from a keyed hash: of the sticky unit if the deployment has one,
else of the idempotency key, else from the fresh nonce of the request. A unit that came under an
earlier revision of the experiment keeps the arm it had first, see `mlops.policies.first_arms`. The
key is the deployment's, so a client cannot choose units that all fall on one arm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops.protocols.base import (
    Columns,
    Kind,
    Payload,
    ProtocolError,
    Records,
    Rows,
)
from mlops.protocols.open_inference_metadata import unknown_version
from mlops.serving.request_context import RequestContext
from mlops.serving.revision import LiveArm, LiveRevision
from mlops.spec.request_id import fresh_nonce, nonce_of
from mlops.spec.unit import unit_hash

_FULL = 2.0**64


@dataclass(slots=True)
class Assignment:
    """The arm that one request gets.

    Attributes:
        arm: The arm.
        propensity: Probability with which it was drawn; 0 if a tester forced it.
        nonce: Identity of the decision, 12 bytes.
        unit: Keyed hash of the sticky unit, 8 bytes, or None.
        epoch: Policy epoch by whose probabilities it was drawn.
    """

    arm: LiveArm
    propensity: float
    nonce: bytes
    unit: bytes | None
    epoch: int = 0


def assign(live: LiveRevision, key: bytes, payload: Payload, context: RequestContext) -> Assignment:
    """Choose an arm for a request.

    Raises:
        ProtocolError: `MALFORMED` if a tester asks for an arm that is not there, `UNKNOWN_MODEL` if
            the path names it as a version, `FORBIDDEN` if the caller may choose none.
    """
    forced = context.version or context.forced_arm
    if forced and not context.may_force:
        raise ProtocolError(
            Kind.FORBIDDEN, "Choosing the arm needs a key with the scope `force-arm`."
        )
    retry = context.idempotency_key
    # A forced request must not take the place of the real one that has the same key.
    identity = f"{retry}\0{forced}" if retry and forced else retry
    if retry and context.key_id:
        # A caller that guesses another's key must get neither its request id nor its place.
        identity += f"\0\0{context.key_id}"
    nonce = nonce_of(key, identity) if identity else fresh_nonce()
    unit = _unit(live, key, payload, context) if live.sticky else None
    if forced:
        return Assignment(_named(live, context), 0.0, nonce, unit)
    if unit is not None and live.first_arms is not None:
        first = live.first_arms.of(unit)
        # An arm that gets no traffic any more keeps no unit.
        if first is not None and live.arms[first.arm].arm.weight > 0:
            return Assignment(live.arms[first.arm], first.propensity, nonce, unit)
    number = int.from_bytes(unit or nonce[-8:], "big") / _FULL
    draws = live.draws
    if draws.features:
        names = live.signature.names
        # The rows of one request get one arm: that of the first.
        draws = draws.of({name: _field(payload, name, names) for name in draws.features})
    choice = draws.choose(number)
    return Assignment(live.arms[choice.arm], choice.propensity, nonce, unit, choice.epoch)


def _named(live: LiveRevision, context: RequestContext) -> LiveArm:
    """Return the arm that the path names as a version of the model, or that a tester asks for."""
    name = context.version or context.forced_arm
    for arm in live.arms:
        if arm.arm.name == name:
            return arm
    names = [arm.arm.name for arm in live.arms]
    if context.version:
        raise ProtocolError(Kind.UNKNOWN_MODEL, unknown_version(name, names))
    raise ProtocolError(
        Kind.MALFORMED, f"X-Mlops-Arm: there is no arm `{name}`; arms are {', '.join(names)}."
    )


def _unit(
    live: LiveRevision, key: bytes, payload: Payload, context: RequestContext
) -> bytes | None:
    """Hash the request's sticky unit; None if it has none, and is then drawn afresh."""
    if live.unit_header:
        value: Any = context.unit
    else:
        field = live.served.revision.spec.sticky_by.partition(":")[2]
        value = _field(payload, field, live.signature.names)
    if isinstance(value, np.floating) and value.is_integer():
        value = int(value)
    return unit_hash(value, key, live.salt)


def _field(payload: Payload, name: str, columns: tuple[str, ...]) -> Any:  # noqa: ANN401 - a JSON value
    """Value of a field in the first row; the rows of one request belong to one unit.

    Rows without names have the `columns` of the signature, as for the model.
    """
    if not payload.n_rows:
        return None
    if isinstance(payload, Records):
        return payload.values[0].get(name)
    if isinstance(payload, Columns):
        return payload.values[name][0] if name in payload.values else None
    names = payload.names if isinstance(payload, Rows) and payload.names else columns
    row = payload.values[0]
    is_row = isinstance(row, list | tuple | np.ndarray)
    if name not in names or not is_row or len(row) != len(names):
        return None
    return row[names.index(name)]
