"""Asking every arm about labelled rows, for the report that the server itself writes.

Answers are remembered while a revision is live, so that a page that renews itself asks only about
rows that are new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from mlops.errors import ConflictError, InvalidInputError
from mlops.protocols.base import ProtocolError
from mlops.serving.dataplane import DataPlane


class SameRows:
    """Has every live arm predict rows, outside of the statistics; see `mlops.serving.report.Ask`.

    Args:
        plane: Whose arms are asked.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._revision = 0
        self._known: dict[bytes, list[Any]] = {}

    def __call__(self, experiment: str, rows: Sequence[Any]) -> list[list[Any]]:
        """Return one list of predictions per arm.

        Raises:
            ConflictError: Another experiment is live, or becomes so in the meantime.
            InvalidInputError: A model refuses the rows.
        """
        live = self._plane.live.served.revision
        if live.spec.experiment != experiment:
            raise ConflictError("Another experiment is live.")
        if live.number != self._revision:
            self._known, self._revision = {}, live.number
        known = self._known
        keys = [hashlib.blake2b(orjson.dumps(row), digest_size=16).digest() for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        if new:
            try:
                answers = self._plane.score(list(new.values()))
            except ProtocolError as error:
                raise InvalidInputError(error.message) from error
            if self._plane.live.served.revision.number != live.number:
                raise ConflictError("Another revision went live in the meantime.")
            known |= {key: list(each) for key, *each in zip(new, *answers, strict=True)}
        return [list(arm) for arm in zip(*(known[key] for key in keys), strict=True)]
