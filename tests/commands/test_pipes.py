"""The other end goes away: of our output, which is the reader's right, and of a connection."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures_deployment import Shop

_REFUSED = b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large"
_UNKNOWN = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@pytest.fixture
def narrow() -> Iterator[str]:
    """A gateway that refuses a large body as nginx does: before it has read it.

    Of the signature it knows nothing.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            asked = b"GET"
            while asked.startswith(b"GET"):
                caller, _ = server.accept()
                with caller:
                    asked = caller.recv(65536)
                    caller.sendall(_UNKNOWN if asked.startswith(b"GET") else _REFUSED)
                    caller.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=refuse)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_body_that_is_too_large_is_told_of(narrow: str, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps({"inputs": "x" * 20_000_000}))
    words = ["predict", "--url", narrow, "--protocol", "mlops", "--data", "rows.json", "--json"]
    said = subprocess.run(
        [sys.executable, "-m", "mlops", *words], cwd=tmp_path, capture_output=True, check=False
    )
    assert said.returncode == 3
    assert json.loads(said.stdout)["error"]["message"] == "/invocations: too large"


def test_a_reader_that_goes_away_ends_us_quietly(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mlops", "config", "show"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        assert program.stdout
        assert program.stderr
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait() == -signal.SIGPIPE


def test_a_change_goes_on_without_its_reader(wine_shop: Shop) -> None:
    """`mlops deploy 2>&1 | head -1` deploys."""
    with subprocess.Popen(
        [sys.executable, "-m", "mlops", "deploy", "--model", "modelA"],
        cwd=wine_shop.folder,
        env=os.environ | wine_shop.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as program:
        assert program.stdout
        assert program.stdout.readline()
        program.stdout.close()
        assert program.wait(180) == 0
    (found,) = wine_shop.ok("status", "--json").document["deployments"]
    assert (found["state"], found["revision"]) == ("running", 1)
    assert wine_shop.ok("deploy", "--json").document["change"] == "nothing"
