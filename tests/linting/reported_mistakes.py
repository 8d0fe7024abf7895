"""Mistakes of real reports, and which are found: `python -m tests.linting.reported_mistakes`.

A mistake counts as found if a finding stands at the very path of what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlops.linting import Finding, lint_text

FILE = Path(__file__).with_suffix(".yaml")


def mistakes() -> list[Mapping[str, Any]]:
    """Return the collection."""
    found: list[Mapping[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def hits(mistake: Mapping[str, Any]) -> Sequence[Finding]:
    """Return the findings that stand where the mistake is."""
    return [each for each in lint_text(mistake["manifest"]) if each.path == mistake["at"]]


def main() -> None:
    """Print one line for each mistake, and how many were found."""
    collection = mistakes()
    caught = 0
    for mistake in collection:
        found = hits(mistake)
        caught += bool(found)
        said = ", ".join(sorted({f"{each.rule}" for each in found})) or "MISSED"
        print(f"{mistake['report']:45} {said:30} {mistake['name']}")
    print(f"{caught} of {len(collection)} found")


if __name__ == "__main__":
    main()
