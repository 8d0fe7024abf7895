"""The short form of a record in a notebook or a debugger; its attributes have the rest."""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxdict = _SHORT.maxtuple = _SHORT.maxlist = 4
_SHORT.maxstring = _SHORT.maxother = 60


def short_repr(record: object, **shown: object) -> str:
    """Write what matters of a record, on one line.

    >>> short_repr(object(), name="wine", reason="", arms=tuple("abcdef"))
    "object(name='wine', arms=('a', 'b', 'c', 'd', ...), ...)"

    Args:
        record: The record.
        shown: What to show, by name; what is empty is left out.
    """
    parts = [f"{name}={_SHORT.repr(value)}" for name, value in shown.items() if value or value == 0]
    return f"{type(record).__name__}({', '.join([*parts, '...'])})"
