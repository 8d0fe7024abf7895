"""A small plot for the terminal: how an interval tightened, look by look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from mlops.monitoring.comparing import Look

_LABEL = 12
_SMALLEST, _WIDEST = 20, 110


def forest(looks: Sequence[Look], width: int) -> list[Text]:
    """Draw one line per look: the number of units, the interval with its estimate, its bounds.

    Args:
        looks: Oldest first; those still in the burn-in are left out.
        width: Columns of the terminal.

    Returns:
        Lines of styled text; one sentence if there is nothing to draw yet.
    """
    known = [look for look in looks if _is_known(look)]
    if not known:
        return [_nothing()]
    # The scale is that of the last looks: the first are so wide that they would hide the others.
    return _drawn([f"{look.n:,}" for look in known], known, _reach(known[-4:]), width)


def newest(arms: Mapping[str, Sequence[Look]], width: int) -> list[Text]:
    """Draw one line per arm on one scale: its name, and the interval of its newest look.

    Args:
        arms: Looks of each arm, oldest first.
        width: Columns of the terminal.
    """
    known = {arm: looks[-1] for arm, looks in arms.items() if looks and _is_known(looks[-1])}
    if not known:
        return [_nothing()]
    looks = list(known.values())
    return _drawn(list(known), looks, _reach(looks), width)


def _is_known(look: Look) -> bool:
    return math.isfinite(look.lower) and math.isfinite(look.upper)


def _reach(looks: Sequence[Look]) -> float:
    # Intervals of no width at 0 need some scale.
    return 1.05 * max(max(abs(k.lower), abs(k.upper)) for k in looks) or 1.0


def _nothing() -> Text:
    from rich.text import Text

    text = "  no interval yet: too few outcomes to know how far chance reaches (the burn-in)"
    return Text(text, style="dim")


def _drawn(labels: Sequence[str], looks: Sequence[Look], reach: float, width: int) -> list[Text]:
    values = [f"{k.estimate:+.3g} [{k.lower:+.3g}, {k.upper:+.3g}]" for k in looks]
    longest = max(len(text) for text in values)
    most = max(_LABEL, width - _SMALLEST - longest - 2)
    label = min(max(_LABEL, *(len(text) + 2 for text in labels)), most)
    size = max(_SMALLEST, min(width, _WIDEST) - label - longest - 2)
    return [
        _line(f"{_clipped(name, label - 2):>{label - 2}}  ", look, text, reach, size)
        for name, look, text in zip(labels, looks, values, strict=True)
    ]


def _clipped(text: str, width: int) -> str:
    """Leave out the middle of a text that is too wide: names differ in their ends.

    >>> _clipped("wine-quality-v2", 10), _clipped("wine", 10)
    ('wine…ty-v2', 'wine')
    """
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def _line(label: str, look: Look, values: str, reach: float, size: int) -> Text:
    from rich.text import Text

    def column(value: float) -> int:
        return round((value + reach) / (2 * reach) * (size - 1))

    left, right = column(look.lower), column(look.upper)
    cells = [" "] * size
    for index in range(max(left, 0), min(right, size - 1) + 1):
        cells[index] = "─"
    cells[size // 2] = "┼" if cells[size // 2] == "─" else "│"
    for index, sign, beyond in ((left, "├", "<"), (right, "┤", ">")):
        inside = 0 <= index < size
        cells[min(max(index, 0), size - 1)] = sign if inside else beyond
    middle = column(look.estimate)
    if 0 <= middle < size:
        cells[middle] = "●"
    style = "green" if look.lower > 0 else "red" if look.upper < 0 else "yellow"
    return Text.assemble((label, "dim"), ("".join(cells), style), "  ", (values, "dim"))
