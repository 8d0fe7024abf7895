"""Evidence in a table: an e-value, and how it went."""

from __future__ import annotations

import math

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 12


def e_value(value: float) -> str:
    """Write an e-value in few characters."""
    if value < 1e4:
        return f"{value:,.1f}"
    return f"1e{math.log10(value):.0f}"


def spark(path: tuple[float, ...], threshold: float) -> str:
    """Draw the logarithm of the e-value over time; the highest bar is an alarm."""
    if not path:
        return ""
    size = max(1, -(-len(path) // _WIDTH))
    peaks = [max(path[start : start + size]) for start in range(0, len(path), size)]
    top = math.log(threshold)
    levels = [math.log(min(max(peak, 1.0), threshold)) / top for peak in peaks]
    return "".join(_BARS[min(int(level * 7), 7)] for level in levels)
