"""Leaves the first search for garbage of a command until there may be some.

A quick command makes a hundred thousand objects of what it imports and frees none of them, and
Python would look through them hundreds of times: a sixteenth of the time `mlops status` takes.
Imported before anything else. From the first search on all is as Python has it, also in forks.
"""

from __future__ import annotations

import gc

_FIRST = 200_000


def put_off() -> None:
    """Let objects pile up before the first search."""
    usual = gc.get_threshold()

    def as_usual(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            gc.set_threshold(*usual)
            gc.callbacks.remove(as_usual)

    gc.callbacks.append(as_usual)
    gc.set_threshold(_FIRST, *usual[1:])


put_off()
