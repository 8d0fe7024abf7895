"""How tests speak to servers of Kubernetes: plain HTTP, and nothing of the code under test."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.servers import ServerProcess

_ENOUGH_S = 60.0


class TlsServer(ServerProcess):
    """Answers over TLS, with a certificate that it makes when it starts."""

    def __init__(
        self,
        certificate: Path,
        command: Sequence[str | Path],
        folder: Path,
        url: str,
        ready: str,
        log: Path | None = None,
    ) -> None:
        super().__init__(command, folder, url, ready)
        self.log = log or self.log
        self._certificate = certificate
        self._path = ready

    def _answers(self) -> bool:
        if not self._certificate.exists():
            return False
        try:
            context = ssl.create_default_context(cafile=str(self._certificate))
            with urllib.request.urlopen(f"{self.url}{self._path}", timeout=5, context=context):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False


class Ask(Protocol):
    """Asks an API and returns the JSON it answers with."""

    def __call__(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Any: ...


def client(url: str, certificate: Path, token: str) -> Ask:
    """Return a function that asks an API.

    Args:
        url: Its address.
        certificate: What to trust; need not be there yet.
        token: What to show.
    """

    def ask(
        method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Any:
        request = urllib.request.Request(
            f"{url}{path}",
            None if body is None else json.dumps(body).encode(),
            {"authorization": f"Bearer {token}", "content-type": content_type},
            method=method,
        )
        context = ssl.create_default_context(cafile=str(certificate))
        # Not `urlopen`, which reads the variables that a command in another thread may be changing.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=_ENOUGH_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                error.add_note(error.read().decode())
            raise

    return ask
