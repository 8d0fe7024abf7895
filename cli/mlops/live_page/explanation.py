"""Why each arm answers what it does: the share of each feature, arms side by side."""

from __future__ import annotations

from typing import Any

from mlops.live_page.source import Source
from mlops.live_page.templates import render

_ROWS, _FEATURES = 5, 30


def explanation(source: Source, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return `html`, a fragment.

    Args:
        source: What is asked about.
        found: For each row the explanation of each arm, by name; see `mlops.explaining.__main__`.
    """
    tables = []
    for arms in found[:_ROWS]:
        shares = {name: each["shares"] for name, each in arms.items()}
        features = list(dict.fromkeys(f for its in shares.values() for f in its))
        largest = {f: max(abs(its.get(f, 0.0)) for its in shares.values()) for f in features}
        features.sort(key=lambda f: -largest[f])
        tables.append((arms, features[:_FEATURES], max(largest.values(), default=0.0) or 1.0))
    more = len(found) - len(tables)
    return {"html": render("explanation", tables=tables, more=more)}
