"""The routes of the live page."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

import mlops
from mlops.errors import MlopsError, NotFoundError
from mlops.journal.outage import for_callers
from mlops.protocols.base import Kind, ProtocolError, Records
from mlops.protocols.http_status import http_status
from mlops.resources import own_markup, prose
from mlops.serving.explaining import Explainer
from mlops.serving.live_page.assets import NO_STORE, asset, version, whole_pages
from mlops.serving.live_page.broadcast import stream
from mlops.serving.live_page.hub import Hub
from mlops.serving.live_page.rates import WINDOW_S
from mlops.serving.live_page.reader import Reader
from mlops.serving.live_page.session import Sessions
from mlops.serving.revision import LiveRevision

#: Where a scope says why its caller may not see the page.
REFUSED = "mlops.refused"
#: Where a scope says what its caller may do, and has a function that says whether it still may.
SCOPES, STILL = "mlops.scopes", "mlops.still"
#: Header with which the page of a project asks for that of one of its deployments.
PROJECT = "x-mlops-project"
#: Parts with values of single requests.
WITH_VALUES = ("drift", "outliers")
_WITHHELD = "This has values of single requests, which need a key with the scope `requests`."
_ENDED = "This session has ended: it was too old, or its key was revoked, replaced or has expired."
_MAX_FORM = 8 * 1024
_NEXT = re.compile(r"(requests(/[A-Za-z0-9_-]{1,64})?|report|docs)?")


class LivePage:
    """The pages under `/ui`.

    Args:
        live: Gives the live revision.
        hub: Sends what changes.
        reader: Reads the journal.
        sessions: Signs browsers in.
        explainer: Says why arms answer what they do.
        secured: Says whether callers must send a key.
    """

    def __init__(
        self,
        live: Callable[[], LiveRevision],
        hub: Hub,
        reader: Reader,
        sessions: Sessions,
        explainer: Explainer,
        secured: Callable[[], bool],
    ) -> None:
        self._live, self._hub, self._reader = live, hub, reader
        self.sessions, self._explainer, self._secured = sessions, explainer, secured

    def close(self) -> None:
        """End all streams, and the process that reads the journal."""
        self._hub.broadcast.close()
        self._reader.close()

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes."""
        get, post = ["GET", "HEAD"], ["POST"]
        return [
            Route("/ui", self.readers_only(self._home), methods=get),
            Route("/ui/events", self.readers_only(self._events), methods=["GET"]),
            Route("/ui/requests", self.readers_only(self._requests), methods=get),
            Route("/ui/requests/{request_id}", self.readers_only(self._request), methods=get),
            Route(
                "/ui/requests/{request_id}/explanation",
                self.readers_only(self._explanation),
                methods=["GET"],
            ),
            Route("/ui/static/{name}", asset, methods=get),
            Route("/ui/sign-in", self._sign_in, methods=post),
            Route("/ui/sign-out", self._sign_out, methods=post),
        ]

    def readers_only(self, endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Return an endpoint that asks for a key who may not see the page."""

        async def checked(request: Request) -> Response:
            error: ProtocolError | None = request.scope.get(REFUSED)
            if error is not None:
                return self._ask_for_key(request, error)
            response: Response = await endpoint(request)
            return response

        return checked

    def _ask_for_key(self, request: Request, error: ProtocolError) -> Response:
        status = http_status(error.kind)
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"error": error.message}, status, {**NO_STORE, **_CHALLENGE})
        has_cookie = self.sessions.cookie in request.cookies
        if error.kind is Kind.UNAUTHENTICATED:
            # Nothing is wrong yet with a browser that has not been asked.
            why, signed_in = _ENDED if has_cookie else "", False
        else:
            why, signed_in = error.message, has_cookie
        return self._page(
            request, "sign_in", status, why=why, signing_in=not signed_in, signed_in=signed_in
        )

    async def _sign_in(self, request: Request) -> Response:
        form = await _form(request)
        try:
            cookie = self.sessions.begin(form.get("key", ""), request.scope.get("mlops.names", ()))
        except ProtocolError as error:
            return self._page(
                request, "sign_in", http_status(error.kind), why=error.message, signing_in=True
            )
        after = form.get("next", "")
        where = after if _NEXT.fullmatch(after) and after else "../ui"
        response = Response(status_code=303, headers={**NO_STORE, "location": where})
        # Without a path it is that of this form (RFC 6265, section 5.1.4), behind any prefix: no
        # prediction is sent with it.
        response.headers["set-cookie"] = (
            f"{self.sessions.cookie}={cookie}; HttpOnly; SameSite=Strict{_secure(request)}"
        )
        return response

    async def _sign_out(self, request: Request) -> Response:
        response = Response(status_code=303, headers={**NO_STORE, "location": "../ui"})
        response.headers["set-cookie"] = (
            f"{self.sessions.cookie}=; Max-Age=0; HttpOnly; SameSite=Strict{_secure(request)}"
        )
        return response

    async def _home(self, request: Request) -> Response:
        parts = {name: own_markup(text) for name, text in self._hub.broadcast.html.items()}
        for name in _hidden(request):
            parts[name] = Markup('<p class="empty">{}</p>').format(prose(_WITHHELD))
        return self._page(request, "home", parts=parts, window=WINDOW_S, shared=self._hub.shared)

    async def _events(self, request: Request) -> Response:
        return stream(self._hub.broadcast, _hidden(request), request.scope[STILL])

    async def _requests(self, request: Request) -> Response:
        asked = request.query_params
        terms = {name: asked.get(name, "")[:200] for name in ("q", "arm", "only", "before")}
        return await self._read(request, "requests", **terms)

    async def _request(self, request: Request) -> Response:
        # No id has control characters, and what is none is shown again, also in a terminal.
        request_id = re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", request.path_params["request_id"][:200])
        explains = self._may_explain(request)
        return await self._read(request, "request", request_id=request_id, explains=explains)

    async def _read(self, request: Request, what: str, **terms: object) -> Response:
        try:
            found = await self._reader.ask(what, **terms)
        except MlopsError as error:
            status, headers = _missing(error)
            text = for_callers(error)
            answer = self._page(request, "fault", status, title="Requests", text=text)
            answer.headers.update(headers)
            return answer
        body = own_markup(found["html"])
        return self._page(request, "reading", body=body, title=found["title"])

    async def _explanation(self, request: Request) -> Response:
        """Answer with a fragment: why each arm answers what it does."""
        if not self._may_explain(request):
            return PlainTextResponse(_NO_SCORE, 403, NO_STORE)
        request_id = request.path_params["request_id"][:200]
        try:
            asked = await self._reader.ask("rows", request_id=request_id)
            names = self._live().signature.names
            records = [
                r if isinstance(r, dict) else dict(zip(names, r, strict=False))
                for r in asked["rows"]
            ]
            found = await self._explainer.explain(Records(records), asked["arm"])
            said = await self._reader.ask("explanation", found=found)
        except ProtocolError as error:
            return PlainTextResponse(error.message, http_status(error.kind), NO_STORE)
        except MlopsError as error:
            status, headers = _missing(error)
            text = for_callers(error)
            return PlainTextResponse(text, status, {**NO_STORE, **headers})
        return HTMLResponse(said["html"], headers=NO_STORE)

    def _may_explain(self, request: Request) -> bool:
        # Without keys everybody may see requests here, and choose the arm of a prediction.
        return not self._secured() or "score" in request.scope[SCOPES]

    def _page(self, request: Request, name: str, status: int = 200, **values: object) -> Response:
        served = self._live().served.revision
        depth = request.url.path.removeprefix("/").count("/")
        text = (
            whole_pages()
            .get_template(f"{name}.html.j2")
            .render(
                name=served.spec.name,
                revision=served.number,
                arms=[(arm.name, arm.model.label, arm.weight) for arm in served.spec.arms],
                # Every link is relative, so that the page works behind a prefix.
                up="../" * depth,
                here=request.url.path.removeprefix("/ui").strip("/"),
                secured=self._secured(),
                version=mlops.__version__,
                assets=version(),
                is_of_project=PROJECT in request.headers,
                **values,
            )
        )
        headers = {**NO_STORE, "vary": "cookie, authorization, accept"}
        if status == 401:
            headers |= _CHALLENGE
        return HTMLResponse(text, status, headers)


_NO_SCORE = "An explanation tells what all arms answer: it needs a key with the scope `score`."
# No dialog of the browser's own, as `Basic` would bring: the page has a form.
_CHALLENGE = {"www-authenticate": "Bearer"}


def _missing(error: MlopsError) -> tuple[int, Mapping[str, str]]:
    """Return status and headers of an answer in place of what could not be read."""
    return (404, {}) if isinstance(error, NotFoundError) else (503, {"retry-after": "10"})


def _hidden(request: Request) -> Collection[str]:
    """Return the parts that a caller may not see."""
    return () if "requests" in request.scope[SCOPES] else WITH_VALUES


def _secure(request: Request) -> str:
    forwarded = request.headers.get("x-forwarded-proto", "")
    return "; Secure" if "https" in (request.url.scheme, forwarded) else ""


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_FORM:
            return {}
    try:
        found = parse_qs(body.decode("latin-1"), max_num_fields=8)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}
