"""`mlops ui` with MLflow's real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fixtures_training import Cli
from tests.servers import unused_port

_ENOUGH_S = 120


@contextmanager
def _ui(
    folder: Path, *words: str, **more: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    foreign = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "mlops", "ui", "--json", *words],
        cwd=folder,
        env={**foreign, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            lines: list[str] = []
            # It goes on after its document, and ends without one where it fails.
            while not lines or lines[-1] not in ("}\n", ""):
                lines.append(program.stdout.readline())
            assert lines[-1], f"it ended: {lines}"
            yield program, json.loads("".join(lines))
        finally:
            program.send_signal(signal.SIGTERM)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_ENOUGH_S) as answer:
        content: bytes = answer.read()
        return content


def test_the_pages_are_served_until_ctrl_c(ready_folder: Path, cli: Cli, capsys: Any) -> None:
    port = unused_port()
    with _ui(ready_folder, "--port", str(port)) as (program, pages):
        assert (pages["url"], pages["deployments"]) == (f"http://127.0.0.1:{port}", {})
        page = _get(pages["url"])
        assert b"Nothing is deployed yet" in page
        url = pages["mlflow"]
        assert f'href="{url}"'.encode() in page
        assert b"<title>MLflow</title>" in _get(url)
        path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
        assert json.loads(_get(url + path))["experiment"]["name"] == "Default"

        assert cli(ready_folder, "ui", "--port", str(port)) == 7
        assert "taken" in capsys.readouterr().err
        # Where a server has the runs, its pages are linked, and no other is started.
        with _ui(ready_folder, MLFLOW_TRACKING_URI=url) as (other, linked):
            assert linked["mlflow"] == url
            assert not Path(f"/proc/{other.pid}/task/{other.pid}/children").read_text()

        command = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        arguments = Path(f"/proc/{command[0]}/cmdline").read_bytes()
        assert b"sqlite" not in arguments
        program.send_signal(signal.SIGINT)
        assert program.wait(_ENOUGH_S) == 0
        assert not Path(f"/proc/{command[0]}").exists()


def test_nothing_is_tracked_yet(cli: Cli, tmp_path: Path, capsys: Any) -> None:
    assert cli(tmp_path, "ui") == 5
    assert "`mlops train`" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
