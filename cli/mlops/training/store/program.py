"""The server as a program: MLflow's own application, behind a token, until its input ends."""

from __future__ import annotations

import hmac
import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mlops.registry.client import quieten

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def main() -> None:
    """Read one line of JSON, serve MLflow on the socket that it names, and end with the parent."""
    line = sys.stdin.readline()
    if not line:
        sys.exit(1)
    order = json.loads(line)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(order["folder"])
    # As `mlflow server` configures its workers.
    os.environ.update(
        _MLFLOW_SERVER_FILE_STORE=order["tracking"],
        _MLFLOW_SERVER_REGISTRY_STORE=order["registry"],
        _MLFLOW_SERVER_ARTIFACT_ROOT=order["artifacts"],
        _MLFLOW_SERVER_SERVE_ARTIFACTS="false",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )
    quieten()
    import uvicorn
    from mlflow.server.fastapi_app import app

    config = uvicorn.Config(_Guard(app, order["token"]), log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=order["socket"])])


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


class _Guard:
    """Refuses requests without the token: other users have accounts on this machine too.

    Args:
        app: MLflow's application.
        token: What a caller sends as `Authorization: Bearer`.
    """

    def __init__(self, app: App, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if hmac.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"This server is for one training."})
