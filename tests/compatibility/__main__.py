"""Print how our answers compare with MLflow's, model by model."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from tests.compatibility.comparing import Comparison, running


def table(comparisons: list[Comparison]) -> str:
    """One line a model: how many requests, and what became of them."""
    kinds = sorted({c.kind for c in comparisons} - {"same", "same error"})
    heads = ["model", "requests", "same", "same error", *kinds]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    models = dict.fromkeys(c.model for c in comparisons)
    for model in [*models, "all"]:
        found = Counter(c.kind for c in comparisons if model in (c.model, "all"))
        cells = [model, str(found.total()), *(str(found[head] or "") for head in heads[2:])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as both:
        comparisons = both.compare()
    print(table(comparisons))
    for c in comparisons:
        if c.kind not in ("same", "same error"):
            print(f"{c.kind}\t{c.path}\t{str(c.theirs.value)[:150]!r}\t{str(c.ours.value)[:150]!r}")


if __name__ == "__main__":
    main()
