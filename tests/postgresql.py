"""A PostgreSQL of one's own: in a temporary folder, on loopback, gone with the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import require

#: Where Debian puts the programs of each version; they are not on the path.
_DEBIAN = Path("/usr/lib/postgresql")
_USER = "postgres"


def find_programs() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`, the newest if there are several."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def postgresql(programs: Path) -> Iterator[str]:
    """Run a server; yield the SQLAlchemy URL of an empty database."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # It refuses to run as root.
        prefix = ["runuser", "-u", _USER, "--"] if os.geteuid() == 0 else []
        if prefix:
            shutil.chown(folder, _USER)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]

        def run(program: str, *arguments: str) -> None:
            command = [*prefix, str(programs / program), *arguments]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

        data = str(folder / "data")
        run("initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off -c max_connections=20"
        run("pg_ctl", "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql+psycopg://{_USER}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """`MLOPS_TEST_POSTGRESQL`, else a server of our own."""
    url = os.environ.get("MLOPS_TEST_POSTGRESQL", "")
    programs = find_programs()
    require("postgres", url or programs, "there is no PostgreSQL here")
    with contextlib.ExitStack() as stack:
        if not url:
            assert programs is not None
            url = stack.enter_context(postgresql(programs))
        yield url
