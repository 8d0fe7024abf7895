"""A small plot for the terminal: how an interval tightened, look by look."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    from rich.text import Text

    known = [look for look in looks if math.isfinite(look.lower) and math.isfinite(look.upper)]
    if not known:
        return [Text("  no interval yet: the burn-in is not over", style="dim")]
    values = [f"{k.estimate:+.3g} [{k.lower:+.3g}, {k.upper:+.3g}]" for k in known]
    longest = max(len(text) for text in values)
    size = max(_SMALLEST, min(width, _WIDEST) - _LABEL - longest - 2)
    # The scale is that of the last looks: the first are so wide that they would hide the others.
    reach = 1.05 * max(max(abs(k.lower), abs(k.upper)) for k in known[-4:])
    return [_line(look, text, reach, size) for look, text in zip(known, values, strict=True)]


def _line(look: Look, values: str, reach: float, size: int) -> Text:
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
    return Text.assemble(
        (f"{look.n:>{_LABEL - 2},}  ", "dim"), ("".join(cells), style), "  ", (values, "dim")
    )
