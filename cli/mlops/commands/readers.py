"""The reader of the output may go away (`mlops deploy 2>&1 | head`)."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops.commands.interrupts import CHANGES

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_OUTPUTS = ("stdout", "stderr")


def prepare_for_readers(words: Sequence[str]) -> None:
    """Decide what happens when a reader goes away.

    A command that shows something ends, as other tools do: quietly, by SIGPIPE. One that changes a
    deployment runs to its end, since half of a change is of no use; it only stops printing.

    Args:
        words: The command.
    """
    if not hasattr(signal, "SIGPIPE"):
        return
    command = next((word for word in words if not word.startswith("-")), "")
    if command not in CHANGES:
        signal.signal(signal.SIGPIPE, _end)
        return
    for name in _OUTPUTS:
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, _outlasting(stream))


class _Outlasting(io.FileIO):
    """Writes to a descriptor, and discards output once its reader is gone."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)


def _outlasting(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    raw = _Outlasting(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _end(number: int, _frame: object) -> None:
    """End quietly.

    The signal comes for sockets too. There the call that sends fails as well, and is reported.
    """
    ours = select.poll()
    for output in (1, 2):
        ours.register(output, 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in ours.poll(0)):
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
