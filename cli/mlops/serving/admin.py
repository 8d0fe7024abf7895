"""Administration over the Unix socket: what is live, swapping it, and notes for its reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mlops.errors import ConflictError, InvalidInputError, MlopsError
from mlops.protocols.base import ProtocolError
from mlops.spec.server import Served, served_from_dict

_MAX_NOTE = 500


class Admin:
    """`GET /status`, `GET /state`, `POST /revision`, `POST /note` and `POST /score`.

    Args:
        status: Gives what the server says of itself, as JSON data.
        swap: Loads a revision, then makes it live; raises `MlopsError` and changes nothing if
            that fails.
        note: Writes a sentence into the journal, for whoever reads the report.
        score: Asks every arm about the same rows, off the books.
        totals: Counts what the journal holds; called in a thread.
        state: Writes the state file again and gives what it says, as JSON data.
    """

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        swap: Callable[[Served], Awaitable[None]],
        note: Callable[[str], None],
        score: Callable[[list[Any]], list[list[Any]]],
        totals: Callable[[], dict[str, int]],
        state: Callable[[], dict[str, Any]],
    ) -> None:
        self._state = state
        self._status = status
        self._totals = totals
        self._swap = swap
        self._note = note
        self._score = score
        self._swapping = asyncio.Lock()

    def application(self) -> Starlette:
        """Return the ASGI application of the socket."""
        return Starlette(
            routes=[
                Route("/status", self._get_status, methods=["GET"]),
                Route("/state", self._get_state, methods=["GET"]),
                Route("/revision", self._post_revision, methods=["POST"]),
                Route("/note", self._post_note, methods=["POST"]),
                Route("/score", self._post_score, methods=["POST"]),
            ]
        )

    async def _get_status(self, request: Request) -> Response:
        totals = await asyncio.to_thread(self._totals)
        return JSONResponse({**self._status(), "journal": totals})

    async def _get_state(self, request: Request) -> Response:
        return JSONResponse(self._state())

    async def _post_revision(self, request: Request) -> Response:
        try:
            served = served_from_dict(await _document(request))
            if self._swapping.locked():
                raise ConflictError("Another revision is being loaded.", hint="Try again shortly.")
            async with self._swapping:
                await self._swap(served)
        except MlopsError as error:
            return _refusal(error)
        return JSONResponse(self._status())

    async def _post_note(self, request: Request) -> Response:
        try:
            text = (await _document(request)).get("text")
            if not isinstance(text, str):
                raise InvalidInputError("A note has a `text`.")
            await asyncio.to_thread(self._note, text[:_MAX_NOTE])
        except MlopsError as error:
            return _refusal(error)
        return JSONResponse(self._status())

    async def _post_score(self, request: Request) -> Response:
        try:
            rows = (await _document(request)).get("rows")
            if not isinstance(rows, list) or not rows:
                raise InvalidInputError("Rows to score are a list in `rows`.")
            return JSONResponse({"arms": await asyncio.to_thread(self._score, rows)})
        except ProtocolError as error:
            return _refusal(InvalidInputError(error.message))
        except MlopsError as error:
            return _refusal(error)


async def _document(request: Request) -> dict[str, Any]:
    """Read a body that must be a JSON object."""
    try:
        document = await request.json()
    except ValueError as error:
        raise InvalidInputError(f"The body is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidInputError("The body must be a JSON object.")
    return document


def _refusal(error: MlopsError) -> Response:
    document = {"code": error.code, "message": error.message, "hint": error.hint}
    return JSONResponse({"error": document}, status_code=409)
