"""Numbers as reports and pages write them."""

from __future__ import annotations

import math


def number(value: float | None, *, signed: bool = False, digits: int = 3) -> str:
    """Write a number with so many significant digits, more if it is longer; a dash for none.

    >>> number(0.073324, signed=True), number(1234567.0), number(0.0, signed=True)
    ('+0.0733', '1,234,567', '0')
    >>> number(-0.0)
    '0'
    """
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    # Not -0.0, which is printed as that.
    value += 0.0
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-4:
        text = f"{value:+.{digits - 1}e}"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(size))) if size else 0
        text = f"{value:+,.{places}f}"
    if not size or not signed:
        text = text.removeprefix("+")
    return text.replace("-", "\N{MINUS SIGN}")


def per_cent(share: float) -> str:
    """Write a share of 1 in per cent with as many digits as it has, three at most.

    >>> [per_cent(share).replace("\N{NO-BREAK SPACE}", " ") for share in (0.95, 0.975, 1 / 3)]
    ['95 %', '97.5 %', '33.3 %']
    """
    return f"{100 * share:.3g}\N{NO-BREAK SPACE}%"
