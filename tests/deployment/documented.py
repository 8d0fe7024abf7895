"""Write the table of metrics in `docs/monitoring.md`: `python -m tests.deployment.documented`."""

from __future__ import annotations

from pathlib import Path

from mlops.spec.metrics import FAMILIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "monitoring.md"
_MARK = "<!-- metrics: `python -m tests.deployment.documented` writes this table -->\n"


def table() -> str:
    """Return every family as a row."""
    rows = ["| series | type | labels | what |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        unit = f" In {family.unit}." if family.unit == "seconds" else ""
        rows.append(f"| `{family.series}` | {family.kind} | {labels} | {family.help}{unit} |")
    return "\n".join(rows) + "\n"


def written(document: str) -> str:
    """Return the document with the table as it should be: it is the end of it."""
    before, mark, _ = document.partition(_MARK)
    assert mark
    return f"{before}{mark}\n{table()}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
