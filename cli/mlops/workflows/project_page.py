"""One page with all deployments of a project, and the live page of each below it.

It is served on this machine only. What it says of a deployment is what `mlops status` says, and
pages of a deployment come from its server, which asks for a key if it has keys: this page has none,
and passes on what the browser sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeAlias

import uvicorn
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import mlops
from mlops.deployment.runtime_files import is_alive, known_names, places, read_server_state
from mlops.deployment.targets.contract import TargetStatus
from mlops.errors import MlopsError, NotFoundError
from mlops.resources import own_markup
from mlops.serving.browsers import Guard
from mlops.serving.live_page.assets import NO_STORE, asset, version, whole_pages
from mlops.serving.live_page.broadcast import Broadcast, stream
from mlops.serving.slow_clients import TimeoutHttpProtocol
from mlops.settings import Settings
from mlops.workflows.project_proxy import Proxy
from mlops.workflows.statuses import each_status

_EVERY_S = 2.0
_START_S = 10.0
#: Requests and errors of each deployment at the last look, and when that was.
_Counted: TypeAlias = dict[str, tuple[float, int, int]]


class ProjectPage:
    """The page.

    Args:
        settings: Of the project.
        mlflow: URL of MLflow's pages.
        host: Address that it listens on.
    """

    def __init__(self, settings: Settings, mlflow: str, host: str) -> None:
        self._settings, self._mlflow = settings, mlflow
        self._guard = Guard(host, ())
        self._proxy = Proxy(self._url_of)
        self.broadcast = Broadcast((self._look,))

    def application(self) -> ASGIApp:
        """Return the ASGI application."""
        routes = [
            Route("/", self._home),
            Route("/events", self._events),
            Route("/ui/static/{name}", asset),
            Route("/d/{name}/{path:path}", self._proxy, methods=["GET", "HEAD", "POST"]),
        ]
        application = Starlette(routes=routes, lifespan=self._lifespan)
        application.router.redirect_slashes = False

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            refused = self._guard.refusal(scope) if scope["type"] == "http" else None
            if refused:
                status, message = refused
                await JSONResponse({"error": message}, status)(scope, receive, send)
            else:
                await application(scope, receive, send)

        return guarded

    @contextlib.asynccontextmanager
    async def _lifespan(self, application: Starlette) -> AsyncIterator[None]:
        yield
        self.broadcast.close()
        await self._proxy.close()

    def _url_of(self, name: str) -> str:
        """Return where a deployment answers.

        Raises:
            NotFoundError: It does not run on this machine.
        """
        where = places(self._settings, name) if name in known_names(self._settings) else None
        state = read_server_state(where) if where is not None else None
        if where is None or state is None or not is_alive(where):
            raise NotFoundError(f"`{name}` does not run on this machine.", hint="mlops status")
        return state.url

    async def _home(self, request: Request) -> Response:
        # What was sent to viewers last is as new, and no server is asked for it.
        seen = self.broadcast.html.get("deployments")
        text = own_markup(seen) if seen else await asyncio.to_thread(self._written)
        page = (
            whole_pages()
            .get_template("project.html.j2")
            .render(
                name=self._settings.project_dir.name,
                mlflow=self._mlflow,
                up="",
                here="",
                secured=False,
                is_of_project=False,
                version=mlops.__version__,
                assets=version(),
                deployments=text,
            )
        )
        return HTMLResponse(page, headers=NO_STORE)

    async def _events(self, request: Request) -> Response:
        return stream(self.broadcast)

    async def _look(self) -> None:
        # Rates are between two looks that follow each other, whoever loads the page in between.
        before: _Counted = {}
        while True:
            text = await asyncio.to_thread(self._written, before)
            self.broadcast.put({"deployments": str(text)})
            self.broadcast.tell({"faults": []})
            await asyncio.sleep(_EVERY_S)

    def _written(self, before: _Counted | None = None) -> Markup:
        try:
            found = each_status(self._settings)
        except MlopsError as error:
            return _made("part_fault", text=_said(error))
        return _made("deployments", cards=[self._card(*each, before) for each in found])

    def _card(
        self, name: str, status: TargetStatus | MlopsError, before: _Counted | None
    ) -> Mapping[str, Any]:
        if isinstance(status, MlopsError):
            nothing = dict.fromkeys(("revision", "url", "link", "elsewhere", "requests", "rates"))
            return {
                **nothing,
                "name": name,
                "state": "unknown",
                "arms": (),
                "warnings": [_said(status)],
            }
        # What is known of arms depends on the target.
        known: dict[str, Any] = asdict(status) if is_dataclass(status) else {}
        arms = [each for each in known.get("arms") or () if "requests" in each]
        asked, failed = (sum(each[name] for each in arms) for name in ("requests", "errors"))
        is_here = status.state == "running" and status.url.startswith("http://")
        return {
            "name": status.name,
            "state": status.state,
            "revision": status.revision,
            "url": status.url,
            "link": f"d/{status.name}/ui" if is_here else "",
            "elsewhere": f"{status.url}/ui" if status.url and not is_here else "",
            "arms": [(each["name"], each["version"], each["weight"]) for each in arms],
            "requests": asked if arms else None,
            "rates": None if before is None else _rates(before, name, asked, failed),
            "warnings": list(known.get("warnings") or ()),
        }


def _rates(before: _Counted, name: str, asked: int, failed: int) -> tuple[float, float] | None:
    """Return requests/s and errors/s since the last look; None at the first."""
    now = time.monotonic()
    then, asked_then, failed_then = before.get(name, (now, asked, failed))
    before[name] = (now, asked, failed)
    # The server may have started again.
    if now - then <= 0 or asked < asked_then:
        return None
    return (asked - asked_then) / (now - then), max(0, failed - failed_then) / (now - then)


def _said(error: MlopsError) -> str:
    return f"{error.message} {error.hint or ''}".strip()


def _made(name: str, **values: object) -> Markup:
    return own_markup(whole_pages().get_template(f"{name}.html.j2").render(**values))


@contextlib.contextmanager
def served(settings: Settings, mlflow: str, sock: socket.socket) -> Iterator[None]:
    """Serve the page on a bound socket while the block runs, in a thread.

    Raises:
        MlopsError: It does not start.
    """
    page = ProjectPage(settings, mlflow, sock.getsockname()[0])
    config = uvicorn.Config(
        page.application(), http=TimeoutHttpProtocol, lifespan="on", ws="none", access_log=False,
        log_config=None, server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise MlopsError("The page of the project did not start.")
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_START_S)
