"""How often ordinary trouble ends in a wrong verdict, through the journal and the report.

    python -m tests.monitoring.measure --runs 30

Arms are equal in every situation but where its docstring says otherwise. The table counts what
`mlops report` decides at the end of each run; intervals are Wilson's at 95 %.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlops.journal.sql import SqlJournal
from mlops.monitoring.report import make_report
from mlops.spec.attribution import Attribution
from tests.monitoring import situations
from tests.monitoring.situations import DAY_MS, START_MS, Shop

_LATER_MS = START_MS + 400 * DAY_MS
_HOUR = Attribution(window_s=3600, missing=0.0)
#: Name, what happens, and which feedback counts.
CASES: tuple[tuple[str, Callable[[Shop], None], Attribution], ...] = (
    ("sticky ramp", situations.sticky_ramp, Attribution()),
    ("sticky ramp, redrawn", lambda s: situations.sticky_ramp(s, redraw=True), Attribution()),
    ("hard rows fail", situations.hard_rows_fail, Attribution()),
    ("hard rows fail, --failed 0", situations.hard_rows_fail, Attribution(failed=0.0)),
    ("pleased answer more", situations.pleased_answer_more, Attribution()),
    ("positives only", situations.positives_only, Attribution()),
    ("positives only, --missing 0", situations.positives_only, _HOUR),
    ("slow feedback", lambda s: situations.slow_feedback(s, days=3), Attribution()),
    ("retries", situations.retries, Attribution()),
    ("broken split", situations.broken_split_then_new_weights, Attribution()),
    ("rare losses, 95/5", situations.rare_losses, Attribution()),
    ("deployed again", situations.deployed_again, Attribution()),
    ("weekend is worse", situations.weekend_is_worse, Attribution()),
    ("novelty", situations.novelty, Attribution()),
)


def decisions(
    situation: Callable[[Shop], None], rules: Attribution, runs: int, seed: int
) -> Counter[str]:
    """Count what the report decides over seeded runs."""
    found: Counter[str] = Counter()
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            journal = SqlJournal(f"sqlite:///{Path(folder) / 'journal.db'}")
            shop = Shop(journal, np.random.default_rng([seed, number]), rules=rules)
            situation(shop)
            verdict = make_report(journal, now_ms=_LATER_MS).verdict
            journal.close()
        found[verdict.decision + (f" {verdict.winner}" if verdict.winner else "")] += 1
    return found


def wilson(count: int, runs: int) -> tuple[float, float]:
    """Interval of a share, at 95 %.

    >>> wilson(0, 30)
    (0.0, 0.11)
    """
    z2 = 1.96**2
    centre = (count + z2 / 2) / (runs + z2)
    half = 1.96 * math.sqrt(count * (runs - count) / runs + z2 / 4) / (runs + z2)
    return round(max(centre - half, 0.0), 2), round(min(centre + half, 1.0), 2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print("| situation | decisions | named a winner |")
    print("|---|---|---|")
    for name, situation, rules in CASES:
        found = decisions(situation, rules, options.runs, options.seed)
        named = sum(n for what, n in found.items() if what.startswith(("promote", "keep")))
        low, high = wilson(named, options.runs)
        listed = ", ".join(f"{what} {n}" for what, n in found.most_common())
        print(f"| {name} | {listed} | {named}/{options.runs} [{low}, {high}] |", flush=True)


if __name__ == "__main__":
    main()
