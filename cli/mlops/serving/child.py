"""A process beside the server that answers JSON lines.

It starts with the first question and ends when it was not asked for a while, with the memory that
answering took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from typing import Any

_MAX_LINE = 64 * 1024 * 1024


class Child:
    """`python -P -m MODULE`, at most one of them at a time. Lives on one event loop.

    Args:
        module: Reads a first line that says what it is for, and then questions.
        idle_s: Seconds after which it ends, counted from `rest`.
    """

    def __init__(self, module: str, idle_s: float) -> None:
        self._words = (sys.executable, "-P", "-m", module)
        self._idle_s = idle_s
        self._process: Process | None = None
        self._first: Mapping[str, Any] = {}
        self._starting = asyncio.Lock()
        self._ending: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None if none was started, or it was ended."""
        return None if self._process is None else self._process.pid

    async def running(self, first: Mapping[str, Any]) -> Process:
        """Return the process, another one if it has ended or was told something else first."""
        self._wake()
        async with self._starting:
            process = self._process
            if process is None or process.returncode is not None or self._first != first:
                self.close()
                process = await asyncio.create_subprocess_exec(
                    *self._words, stdin=PIPE, stdout=PIPE, limit=_MAX_LINE
                )
                say(process, first)
                self._process, self._first = process, first
            return process

    def rest(self) -> None:
        """End the process in a while, unless it is asked again."""
        self._wake()
        self._ending = asyncio.get_running_loop().call_later(self._idle_s, self.close)

    def close(self) -> None:
        """End the process."""
        self._wake()
        if self._process is not None:
            self.end(self._process)

    def end(self, process: Process) -> None:
        """End a process; if it is the current one, the next question starts another."""
        if self._process is process:
            self._process = None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def _wake(self) -> None:
        if self._ending is not None:
            self._ending.cancel()


def say(process: Process, document: object) -> None:
    """Send a line; whoever waits for an answer notices that the process has ended."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(json.dumps(document).encode() + b"\n")
