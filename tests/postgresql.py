"""A PostgreSQL of one's own: in a temporary folder, on loopback, gone with the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import require
from tests.servers import unused_port

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


class PostgreSQL:
    """A server in a folder of its own, which may be stopped and started again.

    Attributes:
        url: SQLAlchemy URL of an empty database.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._data = str(folder / "data")
        # It refuses to run as root.
        self._prefix = ["runuser", "-u", _USER, "--"] if os.geteuid() == 0 else []
        if self._prefix:
            shutil.chown(folder, _USER)
        port = unused_port()
        self._options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off -c max_connections=60"
        self.url = f"postgresql+psycopg://{_USER}@127.0.0.1:{port}/postgres"
        self._run("initdb", "-D", self._data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-o", self._options, "-l", log, "start")

    def stop(self) -> None:
        """End it as a crash does."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._programs / program), *arguments]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def postgresql(programs: Path) -> Iterator[PostgreSQL]:
    """Run a server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        server = PostgreSQL(programs, Path(name))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """`MLOPS_TEST_POSTGRESQL`, else a server of our own."""
    url = os.environ.get("MLOPS_TEST_POSTGRESQL", "")
    programs = find_programs()
    require("postgres", url or programs, "there is no PostgreSQL here")
    with contextlib.ExitStack() as stack:
        if not url:
            assert programs is not None
            url = stack.enter_context(postgresql(programs)).url
        yield url


@pytest.fixture(scope="session")
def database() -> Iterator[PostgreSQL]:
    """A server that a test may stop, and starts again."""
    programs = find_programs()
    require("postgres", programs, "there is no PostgreSQL here")
    assert programs is not None
    with postgresql(programs) as server:
        yield server
