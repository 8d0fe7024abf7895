"""Administration over the Unix socket: what is live, swapping it, and notes for its reports."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mlops.errors import ConflictError, InvalidInputError, MlopsError
from mlops.spec.server import Served, served_from_dict

_MAX_NOTE = 500


class Control(Protocol):
    """What administration may ask of a server of one or more processes."""

    async def status(self) -> dict[str, Any]:
        """Return the server's state, as JSON data.

        Raises:
            MlopsError: It cannot.
        """
        ...

    async def swap(self, served: Served) -> None:
        """Load a revision, then make it live.

        Raises:
            MlopsError: That failed, and nothing has changed.
        """
        ...

    async def state(self) -> dict[str, Any]:
        """Write the state file again, and return what it says, as JSON data."""
        ...

    async def note(self, text: str) -> None:
        """Write a sentence into the journal, for readers of the report.

        Raises:
            MlopsError: It is not written.
        """
        ...

    async def score(self, rows: list[Any]) -> list[list[Any]]:
        """Ask every arm about the same rows, not counted; return n predictions for each.

        Raises:
            MlopsError: A model refuses the rows.
        """
        ...


class Admin:
    """`GET /status`, `GET /state`, `POST /revision`, `POST /note` and `POST /score`.

    Args:
        control: Carries the requests out.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
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
        return JSONResponse(await self._control.status())

    async def _get_state(self, request: Request) -> Response:
        return JSONResponse(await self._control.state())

    async def _post_revision(self, request: Request) -> Response:
        try:
            served = served_from_dict(await _document(request))
            if self._swapping.locked():
                raise ConflictError("Another revision is being loaded.", hint="Try again shortly.")
            async with self._swapping:
                await self._control.swap(served)
        except MlopsError as error:
            return _refusal(error)
        return JSONResponse(await self._control.status())

    async def _post_note(self, request: Request) -> Response:
        try:
            text = (await _document(request)).get("text")
            if not isinstance(text, str):
                raise InvalidInputError("A note has a `text`.")
            await self._control.note(text[:_MAX_NOTE])
        except MlopsError as error:
            return _refusal(error)
        return JSONResponse(await self._control.status())

    async def _post_score(self, request: Request) -> Response:
        try:
            rows = (await _document(request)).get("rows")
            if not isinstance(rows, list) or not rows:
                raise InvalidInputError("Rows to score are a list in `rows`.")
            return JSONResponse({"arms": await self._control.score(rows)})
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
