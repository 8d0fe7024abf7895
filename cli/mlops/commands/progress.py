"""How a command shows that it works: a spinner on a terminal, one line per phase elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mlops.commands.interrupts import interrupted_in
from mlops.commands.output import clock, console, in_bytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.status import Status

    from mlops.commands.sweep import BoardView
    from mlops.training.sweep import Board

_SAY_EVERY_S = 2.0


class PhaseProgress:
    """Shows phases with their time on stderr; a context manager.

    On a terminal the current phase spins, with the last line of output beside it, and what is done
    stays as one line with the seconds that it took. Anywhere else each phase is one line with the
    time of day at which it began.

    Args:
        follow: Whether every line that a script writes stays, not only the last one for a moment.

    Attributes:
        console: Where anything else that is shown in the meantime goes; on another it would run
            into the spinner.
    """

    def __init__(self, *, follow: bool = False) -> None:
        self.console = console(stderr=True)
        self._follow = follow
        self._live = sys.stderr.isatty() and self.console.is_interactive
        self._status: Status | None = None
        self._board: BoardView | None = None
        self._phase = ""
        self._start = self._since = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            # No spinner before the first phase: it needs a thread, and `mlops train` forks before.
            from rich.control import Control
            from rich.segment import ControlType

            self.console.print("[dim]starting[/]", end="")
            self.console.control(Control(ControlType.CARRIAGE_RETURN))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            interrupted_in(self._phase)
        if self._board is not None:
            self._board.stop()
        if self._status is not None:
            self._done("red" if error else "green", "✗" if error else "✓")
            self._status.stop()

    def phase(self, text: str) -> None:
        """Begin a step."""
        text = text[:1].upper() + text[1:]
        if not self._live:
            self.console.print(f"{clock()}  {text}", markup=False)
        elif self._phase:
            self._done("green", "✓")
        self._phase, self._since = text, time.monotonic()
        if self._live and self._status is None:
            self._status = self.console.status("")
            self._status.start()
        self._show("")

    def line(self, text: str) -> None:
        """Show a line that a script wrote."""
        if self._follow:
            self.console.print(text, markup=False, soft_wrap=True)
        elif text.strip():
            self._show(text.strip())

    def note(self, text: str) -> None:
        """Print something that stays."""
        from rich.text import Text

        self.console.print(Text(text, style="yellow"))

    def board(self, board: Board) -> None:
        """Show the state of a sweep, in the place of the spinner."""
        if self._board is None:
            from mlops.commands.sweep import BoardView

            if self._status is not None:
                self._status.stop()
            self._board = BoardView(self.console, live=self._live, start=self._start)
        self._board.show(board)

    def _done(self, style: str, mark: str) -> None:
        if self._phase:
            from rich.text import Text

            took = time.monotonic() - self._since
            self.console.print(
                Text.assemble((mark, style), f" {self._phase} ", (f"{took:.1f} s", "dim"))
            )

    def _show(self, last_line: str) -> None:
        if self._status is not None and self._board is None:
            from rich.text import Text

            text = Text.assemble(self._phase, " ", (last_line, "dim"))
            text.truncate(max(self.console.width - 4, 10), overflow="ellipsis")
            self._status.update(text)


class CountProgress:
    """Counts things that pass, on stderr; a context manager.

    On a terminal a bar with speed and time left; elsewhere a line every few seconds.

    Args:
        things: What is counted, in the plural.
    """

    def __init__(self, things: str) -> None:
        self._things = things
        self._console = console(stderr=True)
        self._live = sys.stderr.isatty() and self._console.is_interactive
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = time.monotonic()
        self._last = -1

    def __enter__(self) -> CountProgress:
        if self._live:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn(self._things),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._things, total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int | None) -> None:
        """Show how many are done, of how many if that is known."""
        now = time.monotonic()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif done != self._last and (now - self._said > _SAY_EVERY_S or done == total):
            self._said, self._last = now, done
            of = f" of {total:,}" if total else ""
            self._console.print(f"{clock()}  {done:,}{of} {self._things}", markup=False)


class TransferProgress(PhaseProgress):
    """Phases, and within one the bytes that are transferred; a context manager.

    On a terminal a bar with speed and time left; elsewhere a line every few seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said = self._start
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_bar()
        super().__exit__(kind, error, trace)

    def phase(self, text: str) -> None:
        """Begin a step, which ends a bar."""
        self._close_bar()
        self._said = time.monotonic()
        super().phase(text)

    def update(self, done: int, total: int) -> None:
        """Show how many bytes are done, of how many."""
        if self._live:
            if self._bar is None:
                self._open_bar()
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=done, total=total)
            return
        now = time.monotonic()
        if now - self._said > _SAY_EVERY_S:
            self._said = now
            text = f"{clock()}  {in_bytes(done)} of {in_bytes(total)}"
            self.console.print(text, markup=False)

    def _open_bar(self) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        # Two live displays cannot share a terminal.
        if self._status is not None:
            self._status.stop()
        self._bar = Progress(
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("bytes", total=None)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None
            if self._status is not None:
                self._status.start()
