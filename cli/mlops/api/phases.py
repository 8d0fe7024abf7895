"""What a long call says while it works."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from mlops.training.sweep import Board

#: Called with each phase.
OnPhase: TypeAlias = Callable[[str], None]


def on_phase(given: OnPhase | None) -> OnPhase:
    """Return what is called with each phase: what was given, else what prints for a person."""
    if given is not None:
        return given
    return _print if _is_watched() else lambda _: None


def _is_watched() -> bool:
    # A kernel's standard error is no terminal, and its notebook shows it.
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Phases:
    """The progress of a training, as `mlops.training.progress` has it.

    Args:
        say: Called with each phase and note, and with each trial of a sweep that ended.
    """

    def __init__(self, say: OnPhase) -> None:
        self._say = say

    def phase(self, text: str) -> None:
        """Say it."""
        self._say(text)

    def line(self, text: str) -> None:
        """Leave the script's output to its log."""

    def note(self, text: str) -> None:
        """Say it."""
        self._say(text)

    def board(self, board: Board) -> None:
        """Say which trial ended."""
        trial = board.changed
        if trial is not None and trial.state != "running":
            self._say(f"trial {trial.number} {trial.name}: {trial.state}")
