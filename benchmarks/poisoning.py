"""What an attacker with one API key and 5 % of the units does to a verdict, and what caps do.

    python benchmarks/poisoning.py [--runs 40]

Two arms that are equal. 4,000 units, each on the arm it was drawn; 200 of them are the attacker's,
who may send feedback with one key and wants the second arm to win: every outcome about it is 1,
every one about the first is 0. Honest units send one outcome, 0 or 1 with equal chance, through
another key. Printed are the estimated difference, which is 0 in truth, and how often a verdict
names a winner, which is at most 5 % without an attacker. Journal, fold and verdict are the real
ones; seeds are fixed.
"""

import argparse
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.report import ReportOptions, make_report
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion

UNITS, OWNED, DAYS = 4_000, 200, 14
START_MS, DAY_MS = 1_772_352_000_000, 86_400_000


@dataclass(frozen=True)
class Situation:
    """What the deployment counts, and what the attacker does.

    Attributes:
        name: For people.
        requests: Requests, each with an outcome, of each of the attacker's units.
        sticky: Whether units keep their arm and count once.
        rules: Of attribution; without caps.
    """

    name: str
    requests: int
    sticky: bool
    rules: Attribution = field(default_factory=Attribution)


SITUATIONS = (
    Situation("no attack", 0, sticky=True),
    Situation("a unit is a person: their mean", 1, sticky=True),
    Situation("the same, 50 outcomes each", 50, sticky=True),
    Situation("a unit is a request", 50, sticky=False),
    Situation("a unit is a person: their sum", 50, sticky=True, rules=Attribution(repeated="sum")),
)
CAPS = (
    ("no caps", Attribution()),
    ("max_per_unit = 2", Attribution(max_per_unit=2)),
    ('max_per_key = "30/1d"', Attribution(max_per_key=30, per_key_s=86_400)),
    ('max_per_key = "5/1d"', Attribution(max_per_key=5, per_key_s=86_400)),
)


def run(situation: Situation, caps: Attribution, seed: int, folder: Path) -> tuple[float, bool]:
    """Return the estimated difference, and whether there is a winner."""
    rng = np.random.default_rng(seed)
    rules = replace(
        situation.rules,
        max_per_unit=caps.max_per_unit,
        max_per_key=caps.max_per_key,
        per_key_s=caps.per_key_s,
    )
    arms = tuple(Arm(n, ModelVersion(n, f"m/{i}", "/nowhere"), 0.5) for i, n in enumerate("ab", 1))
    spec = DeploymentSpec(
        "poisoned",
        arms,
        reward="given",
        sticky_by="header:user" if situation.sticky else "",
        attribution=rules,
    )
    journal = SqlJournal(f"sqlite:///{folder / f'{seed}.db'}")
    journal.record([RevisionEvent(1, START_MS, "started", to_dict(spec))])
    decisions, outcomes = [], []
    for unit in range(UNITS):
        owned = unit < OWNED
        if owned and not situation.requests:
            continue
        name, arm = rng.bytes(8), int(rng.integers(2))
        for _ in range(situation.requests if owned else 1):
            nonce = rng.bytes(12)
            time_ms = START_MS + int(rng.integers(DAYS * DAY_MS))
            if not situation.sticky:
                arm = int(rng.integers(2))
            reward = float(arm) if owned else float(rng.integers(2))
            decisions.append(
                Decision(
                    nonce, time_ms, 1, arm, 0.5, 1, 500, 200, "v2",
                    unit=name if situation.sticky else None, predictions=[0.0],
                )
            )  # fmt: skip
            outcomes.append(
                NewOutcome(
                    nonce, None, 0, time_ms + 50, 1, arm, 0.5, reward, None,
                    key_id="app-2" if owned else None,
                )
            )  # fmt: skip
    decisions.sort(key=lambda each: each.time_ms)
    outcomes.sort(key=lambda each: each.time_ms)
    journal.append(decisions, outcomes)
    try:
        report = make_report(journal, ReportOptions(0.05, "", None, False, ""))
    finally:
        journal.close()
    return report.comparisons[0].estimate, report.verdict.winner is not None


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=40)
    runs = parser.parse_args().runs
    print(
        f"{runs} runs each; equal arms; {OWNED / UNITS:.0%} of {UNITS:,} units are the attacker's\n"
    )
    print("| what is counted | caps | difference | false winner |\n|---|---|---|---|")
    for situation in SITUATIONS:
        for name, caps in CAPS if situation.requests else CAPS[:1]:
            with tempfile.TemporaryDirectory() as folder:
                found = [run(situation, caps, seed, Path(folder)) for seed in range(runs)]
            mean = np.mean([estimate for estimate, _ in found])
            won = sum(winner for _, winner in found)
            print(f"| {situation.name} | {name} | {mean:+.3f} | {won} of {runs} |", flush=True)


if __name__ == "__main__":
    main()
