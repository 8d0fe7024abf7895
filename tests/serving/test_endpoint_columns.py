"""The columns of an endpoint whose server is updated to another model."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

import pytest

from mlops.protocols.base import ProtocolError, Rows
from mlops.serving.models import remote as remote_module
from mlops.serving.models.remote import RemoteModel
from mlops.spec.endpoint import parse_endpoint

Json: TypeAlias = Any


class _Rolled(BaseHTTPRequestHandler):
    """A V2 server that is updated to a model with other columns, and is up all the time."""

    columns: tuple[str, ...] = ("old",)
    asked: list[str] = []  # noqa: RUF012 - emptied by the test

    def do_GET(self) -> None:
        self.asked.append(self.path)
        inputs = [{"name": n, "datatype": "FP64", "shape": [-1, 1]} for n in self.columns]
        self._reply(200, {"name": "m", "inputs": inputs} if self.path.endswith("/m") else {})

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if tuple(each["name"] for each in sent["inputs"]) != self.columns:
            self._reply(400, {"error": "other columns"})
            return
        output = {"name": "output-1", "datatype": "FP64", "shape": [1, 1], "data": [1.0]}
        self._reply(200, {"model_name": "m", "outputs": [output]})

    def _reply(self, status: int, document: Json) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_other_columns_are_learned_while_it_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """From time to time, and after it has refused rows."""
    monkeypatch.setattr(_Rolled, "columns", ("old",))
    monkeypatch.setattr(_Rolled, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Rolled)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remote = RemoteModel(
        parse_endpoint(f"v2+http://127.0.0.1:{server.server_port}/v2/models/m"), "rolled"
    )

    async def roll() -> None:
        # Rows without names get those of the columns, by position.
        rows = Rows([[1.0]])
        for _ in range(3):
            await remote.probe()
        assert _Rolled.asked.count("/v2/models/m") == 1
        assert remote.signature.names == ("old",)
        await remote.ask(rows, {})
        _Rolled.columns = ("new",)
        with pytest.raises(ProtocolError, match="other columns"):
            await remote.ask(rows, {})
        monkeypatch.setattr(remote_module, "_LEARN_S", 0.0)
        await remote.probe()
        assert remote.signature.names == ("new",)
        await remote.ask(rows, {})
        # Without a request in between.
        _Rolled.columns = ("newest",)
        await remote.probe()
        assert remote.signature.names == ("newest",)
        assert remote.up
        await remote.close()

    try:
        asyncio.run(roll())
    finally:
        server.shutdown()
        server.server_close()
