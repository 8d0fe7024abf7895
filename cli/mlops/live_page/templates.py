"""Templates of the parts, with the filters that they use."""

from __future__ import annotations

import datetime as dt
import json
import math
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from mlops.monitoring.course import evidence
from mlops.monitoring.figures import number, per_cent
from mlops.resources import page_templates


def render(name: str, **values: object) -> str:
    """Write one part."""
    return templates().get_template(f"{name}.html.j2").render(**values)


@cache
def templates() -> Environment:
    """Return the templates of the live page."""
    found = page_templates("live_page")
    found.filters |= {
        "number": number,
        "signed": lambda value: number(value, signed=True),
        "per_cent": per_cent,
        "moment": moment,
        "ago": ago,
        "whole": lambda value: f"{value:,}",
        "p": lambda value: f"{value:.3g}",
        "evidence": evidence,
        "short": short,
        "way": way,
        "chart": chart,
    }
    found.tests["finite"] = lambda value: value is not None and math.isfinite(value)
    return found


def moment(time_ms: int) -> Markup:
    """Return a time in UTC, which the page's script leaves as it is."""
    when = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        when.isoformat(timespec="milliseconds"), f"{when:%Y-%m-%d %H:%M:%S} UTC"
    )


def ago(seconds: float) -> str:
    """Write a duration in one unit.

    >>> [ago(each) for each in (0.2, 59, 90, 7_200, 200_000)]
    ['0 s', '59 s', '2 min', '2 h', '2 d']
    """
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{math.floor(seconds / size + 0.5)} {unit}"
    return f"{seconds:.0f} s"


def way(share: float) -> str:
    """Write a share of a way in whole per cent.

    >>> way(0.001), way(0.996), way(1.0)
    ('0 %', '99 %', '100 %')
    """
    return f"{math.floor(100 * share + 1e-9)} %"


def short(value: object) -> str:
    """Write a cell of a table: numbers briefly, texts cut.

    >>> short(5.123456789), short("x" * 100)[-3:], short([1, 2])
    ('5.12346', 'xx…', '[1, 2]')
    """
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def chart(kind: str, data: dict[str, Any]) -> Markup:
    """Return the attributes of a figure that the page's script draws into."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup('data-chart="{}" data-values="{}"').format(kind, text)


def finite(value: float) -> float | None:
    """Return a number as JSON has it, with as many digits as a chart shows."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
