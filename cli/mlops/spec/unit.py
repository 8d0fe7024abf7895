"""Sticky units: what represents a user or a device where its arm is drawn and in the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from mlops.spec.deployment import DeploymentSpec

_UNIT_BYTES = 8
_CELL_BYTES = 16
_EXACT = 2**53
_SALT_BYTES = 16


def cell_hash(name: str, cell: object, key: bytes) -> str:
    """Return a pseudonym of a feature's value: the same for equal ones, and only with the key.

    Args:
        name: Name of the feature, so that equal values of two features differ.
        cell: A JSON value, or one of NumPy.
        key: The deployment's key.
    """
    if isinstance(cell, Real) and not isinstance(cell, bool):
        # `5.0` is `5`; above 2**53 not every whole number has a float of its own.
        number = float(cell)
        cell = int(number) if abs(number) < _EXACT and number.is_integer() else cell
    text = orjson.dumps(cell, default=str, option=orjson.OPT_SERIALIZE_NUMPY)
    named = name.encode() + b"\0" + text
    return hashlib.blake2b(named, key=key, digest_size=_CELL_BYTES).hexdigest()


def salt_of(experiment: str) -> bytes:
    """Return the salt that makes draws of one experiment independent of the next.

    So a unit's arm in the last one does not decide its arm in this one.
    """
    return hashlib.blake2b(experiment.encode(), digest_size=_SALT_BYTES).digest()


def unit_hash(value: object, key: bytes, salt: bytes) -> bytes | None:
    """Return the keyed hash of a unit, 8 bytes; None for one that is empty.

    Args:
        value: What names the unit: text, a number, whatever a field may hold.
        key: The deployment's key, so that a client cannot choose units that fall on one arm.
        salt: Of the experiment.
    """
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 7 in one protocol is 7.0 in another
    return hashlib.blake2b(
        str(value).encode(), key=key, salt=salt, digest_size=_UNIT_BYTES
    ).digest()


def revisions_of_units(specs: Mapping[int, DeploymentSpec], number: int) -> tuple[int, ...]:
    """Return the earlier revisions of an experiment whose sticky units keep their arm.

    Args:
        specs: What each revision is, by number; with that of `number`.
        number: Of the revision that units come to now.

    Returns:
        Their numbers; none where units are not sticky, or are drawn again by this revision.
    """
    live = specs[number]
    if not live.sticky_by or live.redraw:
        return ()
    earlier = [
        other
        for other, spec in specs.items()
        if other != number and spec.experiment == live.experiment
    ]
    # What units had before they were last drawn again is over.
    begin = max((other for other in earlier if specs[other].redraw), default=0)
    return tuple(other for other in earlier if other >= begin)
