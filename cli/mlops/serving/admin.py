"""Administration over the Unix socket: what is live, swapping it, and notes for its reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mlops.errors import ConflictError, MlopsError
from mlops.spec.server import Served, served_from_dict

_MAX_NOTE = 500


class Admin:
    """Three calls: `GET /status`, `POST /revision` and `POST /note`.

    Args:
        status: Gives what the server says of itself, as JSON data.
        swap: Loads a revision, then makes it live; raises `MlopsError` and changes nothing if
            that fails.
        note: Writes a sentence into the journal, for whoever reads the report.
    """

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        swap: Callable[[Served], Awaitable[None]],
        note: Callable[[str], None],
    ) -> None:
        self._status = status
        self._swap = swap
        self._note = note
        self._swapping = asyncio.Lock()

    def application(self) -> Starlette:
        """Return the ASGI application of the socket."""
        return Starlette(
            routes=[
                Route("/status", self._get_status, methods=["GET"]),
                Route("/revision", self._post_revision, methods=["POST"]),
                Route("/note", self._post_note, methods=["POST"]),
            ]
        )

    async def _get_status(self, request: Request) -> Response:
        return JSONResponse(self._status())

    async def _post_revision(self, request: Request) -> Response:
        try:
            served = served_from_dict(await request.json())
            if self._swapping.locked():
                raise ConflictError("Another revision is being loaded.", hint="Try again shortly.")
            async with self._swapping:
                await self._swap(served)
        except MlopsError as error:
            document = {"code": error.code, "message": error.message, "hint": error.hint}
            return JSONResponse({"error": document}, status_code=409)
        return JSONResponse(self._status())

    async def _post_note(self, request: Request) -> Response:
        document = await request.json()
        self._note(str(document["text"])[:_MAX_NOTE])
        return JSONResponse(self._status())
