"""One short line per arm of a comparison of several. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlops.monitoring.verdict import Comparison, leading, rounded, stands_out


def arm_lines(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Say of each arm how it compares with the baseline, the leading one first.

    Numbers of units are those that would decide it: to plan with, and how far that may be off.

    Args:
        comparisons: Every other arm against the baseline.

    Returns:
        A line per comparison, names in backticks; none with less than two, since the verdict says
        it all.
    """
    if len(comparisons) < 2:
        return ()
    first = leading(comparisons)
    rest = [c for c in comparisons if c is not first]
    rest.sort(key=lambda c: c.estimate if math.isfinite(c.estimate) else -math.inf, reverse=True)
    return tuple(_line(c) for c in (first, *rest))


def _line(c: Comparison) -> str:
    if c.waiting_for:
        return f"`{c.arm}`: too early to tell, {c.waiting_for}"
    if not math.isfinite(c.estimate):
        return f"`{c.arm}`: nothing is known yet"
    line = f"`{c.arm}`: {c.estimate + 0.0:+.3g} [{c.lower:+.3g}, {c.upper:+.3g}]"
    if c.lower > 0:
        return f"{line} better"
    if c.upper < 0 or c.worse:
        return f"{line} worse"
    so_far = f" {'behind' if c.estimate < 0 else 'ahead'} so far" if stands_out(c) else ""
    more = _more(c)
    return f"{line}{so_far}{', ' if more else ''}{more}"


def _more(c: Comparison) -> str:
    fewest, most = c.remaining_range or (0, None)
    if c.remaining is None:
        return f"at least {fewest:,} more" if fewest else ""
    if not c.remaining:
        return ""
    about = f"about {rounded(c.remaining)} more"
    if most is not None:
        return f"{about} ({f'{fewest:,} to' if fewest else 'up to'} {most:,})"
    return f"{about} (at least {fewest:,})" if fewest else about
