"""What a cluster's worker does: unpack a project, run its command, return what it wrote.

The worker need not have mlops installed: this module is sent to it as it is, so it imports nothing
but the standard library.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_GRACE_S = 3.0
_MAX_OUTPUT = 16 << 20
# Kills its group when its standard input ends, which it does when the worker dies: a script whose
# node is given up must not continue writing to a run that another node has taken over.
_GUARD = """
import os, signal, subprocess, sys, threading
def guard():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=guard, daemon=True).start()
code = subprocess.call(["bash", "-c", sys.argv[1]], stdin=subprocess.DEVNULL)
os._exit(code if code >= 0 else 128 - code)
"""


def run_bundle(content: bytes, command: str, environment: Mapping[str, str]) -> tuple[int, bytes]:
    """Run a command in an unpacked project.

    Args:
        content: A zip with the folder `project`.
        command: What to run, for `bash -c`.
        environment: Variables over those of the worker.

    Returns:
        Exit code, above 128 for a signal, and the end of what was written.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-trial-") as folder:
        _unpack(content, folder)
        output = Path(folder, "output")
        with output.open("wb") as log:
            code = _run(command, Path(folder, "project"), environment, log.fileno())
        size = output.stat().st_size
        with output.open("rb") as log:
            log.seek(max(0, size - _MAX_OUTPUT))
            return code, log.read()


def _unpack(content: bytes, folder: str) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            Path(archive.extract(info, folder)).chmod(mode or 0o644)


def _run(command: str, folder: Path, environment: Mapping[str, str], log: int) -> int:
    process = subprocess.Popen(
        [sys.executable, "-c", _GUARD, command],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        cwd=folder,
        env=_variables(environment),
        start_new_session=True,
    )
    try:
        code = process.wait()
    except BaseException:
        # Cancelled: Ray raises KeyboardInterrupt here.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        raise
    finally:
        # Also what a finished script left running.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
    return code if code >= 0 else 128 - code


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
    return {**os.environ, **environment, "PATH": path, "PYTHONUNBUFFERED": "1"}
