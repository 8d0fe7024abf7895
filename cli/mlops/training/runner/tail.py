"""A growing file, read line by line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


class Tail:
    """Passes on what is written to a file.

    The output of a script goes to a file, not through a pipe, so that it is complete even if this
    process is killed, and so that a background process that keeps a pipe open cannot block it.

    Args:
        path: The file, which exists.
        on_line: Gets every line.
    """

    def __init__(self, path: Path, on_line: Callable[[str], None]) -> None:
        self._file = path.open(encoding="utf-8", errors="replace")
        self._on_line = on_line
        self._rest = ""

    def read(self) -> None:
        """Pass on new lines."""
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            self._on_line(line)

    def close(self) -> None:
        """Pass on what is left, even if its line has no end."""
        self.read()
        if self._rest:
            self._on_line(self._rest)
        self._file.close()
