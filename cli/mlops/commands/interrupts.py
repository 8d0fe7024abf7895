"""What an interrupted command says: what was done, and how to continue."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from mlops.commands.output import program

_PHASE: list[str] = []
_SAID: list[str] = []

#: From this phase on a revision is in the ledger.
RECORDING = "Recording"
#: Commands that change a deployment.
CHANGES = ("deploy", "start", "promote", "ramp", "rollback")


def start_uninterrupted() -> None:
    """Reset the phase of an earlier command of this process."""
    _PHASE.clear()
    _SAID.clear()


def interrupted_in(phase: str) -> None:
    """Note at which phase a command was interrupted; called on the way out."""
    _PHASE.append(phase)


@contextlib.contextmanager
def telling(say: Callable[[], str]) -> Iterator[None]:
    """Report what was done, if the block is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        _SAID.append(say())
        raise


def words_of(command: Sequence[str]) -> str:
    """Say what was done by the command, and how to continue.

    Args:
        command: Its words.
    """
    if _SAID:
        return _SAID[-1]
    name = command[0] if command else ""
    if name in CHANGES:
        return _of_a_change(name, _PHASE[-1] if _PHASE else "")
    if name == "train":
        return "A run that was under way is marked KILLED; the same command trains again."
    return ""


def _of_a_change(name: str, phase: str) -> str:
    begun = phase.startswith((RECORDING, "Loading", "Applying", "Waiting", "Removing"))
    if not begun:
        return "Nothing was changed: what was live is live."
    return (
        f"A revision was begun. `{program()} status` shows what is live; the same `{program()} "
        f"{name}` finishes it, or undoes it if the server has not taken it."
    )
