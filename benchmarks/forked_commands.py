"""Runs `mlops` commands as processes that start at once, and says what is wrong with how they end.

Each command is forked from this process, which has made the imports; it can be killed at any
moment, and be given less memory than it would take.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: What a command may end with: see docs/command-line.md.
_CODES = frozenset((*range(8), 10, 11, 12, 13, 130))


#: What failed: in words, or in the line of a list of checks.
_SENTENCE = re.compile(r"error|✗")
_RAISED = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*(\S.*)")


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended.

    Attributes:
        words: The command.
        code: Its exit code; negative for the signal that killed it.
        text: All that it printed.
        took_s: How long it took.
        hung: Whether it was still running when the time was up.
    """

    words: tuple[str, ...]
    code: int
    text: str
    took_s: float
    hung: bool = False

    def faults(self) -> Iterator[str]:
        """Say what no command may do, whatever happened to it; nothing if it was killed by us."""
        name = f"mlops {' '.join(self.words)}"
        if self.hung:
            yield f"{name}: no end after {self.took_s:.0f} s"
        elif "Traceback (most recent call last)" in self.text:
            yield f"{name}: traceback, {_raised(self.text)}"
        elif self.code not in _CODES and self.code != -signal.SIGKILL:
            yield f"{name}: exit code {self.code}"
        elif self.code in range(1, 8) and not _SENTENCE.search(self.text):
            yield f"{name}: exit code {self.code} without a sentence: {self.text[-200:]!r}"


def _raised(text: str) -> str:
    """Return what was raised last, and where."""
    raised = list(_RAISED.finditer(text))
    if not raised:
        return text.strip().splitlines()[-1][:200]
    where = [line.strip() for line in raised[-1][0].splitlines() if line.startswith("  File")]
    return f"{raised[-1][1][:200]} in {where[-1] if where else '?'}"


def prepare() -> None:
    """Make the imports that commands make; nothing may be opened before a fork."""
    from mlops.registry.client import quieten

    quieten()
    import mlflow.pyfunc
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - so that a fork need not

    import mlops.__main__
    import mlops.deployment.local_revision  # noqa: F401 - as above


def command(
    folder: Path,
    *words: str,
    kill_after_s: float = 0.0,
    enough_s: float = 240.0,
    memory: int = 0,
    file_bytes: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Said:
    """Run a command.

    Args:
        folder: Where.
        words: The command.
        kill_after_s: When to kill it with SIGKILL; 0 for never.
        enough_s: When to give it up.
        memory: Bytes of address space beyond those it begins with; 0 for no limit.
        file_bytes: Most bytes that a file it writes may have, its output aside; None for no limit.
        environ: Further variables.
    """
    started = time.monotonic()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be(folder, words, writing, memory, file_bytes, environ or {})
    os.close(writing)
    printed: list[bytes] = []
    reader = threading.Thread(target=_read, args=(reading, printed), daemon=True)
    reader.start()
    status = _wait(pid, started + (kill_after_s or enough_s))
    hung = status is None
    if status is None:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    took_s = time.monotonic() - started
    # A process that it leaves behind may hold the pipe open.
    reader.join(1.0)
    text = b"".join(printed).decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return Said(words, code, text, took_s, hung and not kill_after_s)


def _read(pipe: int, into: list[bytes]) -> None:
    with open(pipe, "rb", buffering=0) as file:
        while data := file.read(1 << 16):
            into.append(data)


def _wait(pid: int, deadline: float) -> int | None:
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    return None


def _be(
    folder: Path,
    words: tuple[str, ...],
    output: int,
    memory: int,
    file_bytes: int | None,
    environ: Mapping[str, str],
) -> None:
    code = 99
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        os.environ.update(environ)
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        if memory:
            limit = _address_space() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        from mlops.__main__ import run

        code = run(list(words))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter would
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
