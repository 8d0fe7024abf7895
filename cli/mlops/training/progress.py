"""What a long command shows while it works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mlops.training.sweep.records import Board


class Progress(Protocol):
    """Receives progress; called from the thread that calls `train`, in order."""

    def phase(self, text: str) -> None:
        """A new step begins, for example "training"."""

    def line(self, text: str) -> None:
        """The script wrote a line."""

    def note(self, text: str) -> None:
        """Something the user should see even afterwards."""

    def board(self, board: Board) -> None:
        """A trial of a sweep began or ended."""


class Silent:
    """Shows nothing."""

    def phase(self, text: str) -> None:
        """Ignore it."""

    def line(self, text: str) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def board(self, board: Board) -> None:
        """Ignore it."""
