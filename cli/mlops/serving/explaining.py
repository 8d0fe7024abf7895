"""`:explain`, answered by a process beside the server, which starts with the first question.

    python -P -m mlops.explaining

An explanation may take a second and a gigabyte, of which predictions notice nothing. Questions wait
for each other; too many of them are refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from mlops.protocols.base import Columns, Kind, Payload, ProtocolError, Records, Rows
from mlops.serving.child import Child, say
from mlops.serving.revision import LiveRevision
from mlops.spec.server import Served

MAX_ROWS = 100
_WAITING, _TIMEOUT_S, _IDLE_S = 4, 60.0, 300.0


class Explainer:
    """Explains rows by the live arms. Lives on one event loop.

    Args:
        live: Gives the live revision.
        deployment: Name of the deployment.
        journal_url: Where its journal is, or where to find out.
    """

    def __init__(self, live: Callable[[], LiveRevision], deployment: str, journal_url: str) -> None:
        self._live = live
        self._asked = {"deployment": deployment, "journal_url": journal_url}
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._child = Child("mlops.explaining", _IDLE_S)

    async def explain(
        self, payload: Payload, served: str = "", output: str = ""
    ) -> list[dict[str, Any]]:
        """Return for each row the explanation of each arm, by name.

        Args:
            payload: The rows.
            served: The arm that answered them, by whose classes all are explained; empty for the
                first.
            output: Name or position of the one to explain of several values that models answer.

        Raises:
            ProtocolError: They cannot be explained, or too many are asked for.
        """
        rows = records_of(payload, self._live().signature.names)
        if not rows:
            raise ProtocolError(Kind.MALFORMED, "There are no rows to explain.")
        if len(rows) > MAX_ROWS:
            raise ProtocolError(Kind.MALFORMED, f"At most {MAX_ROWS} rows are explained at once.")
        if self._waiting >= _WAITING:
            raise ProtocolError(Kind.BUSY, "Other explanations are waiting; try again later.")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._ask({"rows": rows, "served": served, "output": output})
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the process."""
        self._child.close()

    async def _ask(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        arms = explainable_arms(self._live().served)
        if not arms:
            raise ProtocolError(Kind.MISMATCH, "Every arm is behind an endpoint.")
        child = await self._child.running({**self._asked, "arms": arms})
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            say(child, question)
            async with asyncio.timeout(_TIMEOUT_S):
                await child.stdin.drain()
                line = await child.stdout.readline()
            answer = json.loads(line)
        except (TimeoutError, OSError, ValueError) as error:
            self.close()
            raise ProtocolError(
                Kind.MODEL_FAILED, "The process that explains has ended, or takes too long."
            ) from error
        except asyncio.CancelledError:
            # Its answer would be taken for that of the next question.
            self.close()
            raise
        self._child.rest()
        if "refused" in answer:
            raise ProtocolError(Kind.MISMATCH, answer["refused"])
        if "failed" in answer:
            raise ProtocolError(Kind.MODEL_FAILED, answer["failed"])
        found: list[dict[str, Any]] = answer["explanations"]
        return found


def output_of(document: Mapping[str, Any]) -> str:
    """Return the output that a request asks to explain, by name or position; empty for none.

    Raises:
        ProtocolError: It is neither.
    """
    output = document.get("output")
    if output is None:
        return ""
    if isinstance(output, bool) or not isinstance(output, int | str):
        raise ProtocolError(
            Kind.MALFORMED, f"`output` must be a name or a position, not {json.dumps(output)[:80]}."
        )
    return str(output)


def explainable_arms(served: Served) -> list[dict[str, str]]:
    """Return name, folder and interpreter of each arm that has files here."""
    arms = zip(served.revision.spec.arms, served.paths, strict=False)
    return [
        {"name": arm.name, "path": path, "python": served.python_of(at)}
        for at, (arm, path) in enumerate(arms)
        if path
    ]


def records_of(payload: Payload, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return rows as objects.

    Args:
        payload: The rows of a request.
        names: Columns of the model, for rows that carry no names.

    Raises:
        ProtocolError: A row has more or fewer cells than there are columns.
    """
    if isinstance(payload, Records):
        return [dict(row) for row in payload.values]
    if isinstance(payload, Columns):
        cells = zip(*payload.values.values(), strict=True)
        return [dict(zip(payload.values, row, strict=True)) for row in cells]
    known = (payload.names if isinstance(payload, Rows) else None) or names
    try:
        return [dict(zip(known, row, strict=True)) for row in payload.values]
    except (TypeError, ValueError) as error:
        raise ProtocolError(
            Kind.MISMATCH, f"A row must have {len(known)} cells, one for each column."
        ) from error
