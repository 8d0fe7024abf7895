"""The hard grid: how often a verdict is wrong, or withheld, and how soon it comes.

    python benchmarks/hard_verdicts.py grid  [--runs 2000] [--out grid.ndjson] [--quick]
    python benchmarks/hard_verdicts.py power [--runs 500]  [--out power.ndjson] [--quick]

`grid`: rewards x splits x situations (`hard_rewards`, `hard_situations`), equal arms. `plain` and
others without a gate are watched at every outcome, those with one at up to forty looks. "ABOVE"
marks cells significantly above alpha (one-sided binomial test at 99 %, over the number of cells).
`power`: the lift that a fixed test of 20,000 finds with 90 % power at 50/50, and twice that, beside
mSPRT tuned to the true lift, O'Brien-Fleming with ten looks, and a fixed horizon; and the wine
example, unpaired and paired.
Cells that `--out` already holds are not simulated again. Seeds are fixed.
"""

import argparse
import functools
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hard_rewards import DEVIATIONS, REWARDS, SHARES
from hard_situations import SITUATIONS, Setting
from numpy.typing import NDArray
from scipy import stats
from verdicts import planned_lift, squared_errors

from mlops.stats.bounded import bounded_difference_sequence
from mlops.stats.difference import difference_sequence
from mlops.stats.paired import paired_sequence

ALPHA, DECISIONS, HORIZON, AT_ONCE = 0.05, 10_000, 20_000, 5
POWERED = ("conversion 5 %", "conversion 1 %", "squared error", "revenue, 97 % zeros")
# Ten equally spaced looks, two-sided 0.05: Jennison, Turnbull (2000), table 2.3.
OBRIEN_FLEMING = 2.087

Row = dict[str, Any]


def grid(runs: int, done: set[str]) -> Iterator[Row]:
    for s, situation in enumerate(SITUATIONS):
        for r, reward in enumerate(REWARDS):
            for p, split in enumerate(SHARES):
                key = f"{situation} | {reward} | {split}"
                if key not in done:
                    times = runs if situation == "plain" else max(runs // 4, 20)
                    yield {"cell": key, **cell(situation, reward, split, times, (s, r, p))}


def cell(situation: str, reward: str, split: str, runs: int, seed: tuple[int, ...]) -> Row:
    rng = np.random.default_rng(seed)
    setting = Setting(REWARDS[reward], DEVIATIONS[reward], SHARES[split], DECISIONS)
    found = [SITUATIONS[situation](rng, setting) for _ in range(runs)]
    reasons = Counter(each.withheld for each in found if each.withheld)
    return {"runs": runs, "wrong": sum(each.wrong for each in found), "withheld": dict(reasons)}


def power(runs: int, done: set[str]) -> Iterator[Row]:
    for r, reward in enumerate(POWERED):
        for factor in (1, 2):
            key = f"{reward} | {factor} x"
            if key not in done:
                yield {"cell": key, "runs": runs, "methods": decided(reward, factor, runs, (9, r))}
    if "wine" not in done:
        yield {"cell": "wine", "runs": runs, "methods": wine(min(runs, 200))}


def decided(reward: str, factor: int, runs: int, seed: tuple[int, ...]) -> dict[str, Row]:
    """Share of runs that found the better arm by the horizon, and outcomes until then."""
    rng = np.random.default_rng(seed)
    lift = factor * planned_lift(reward, 0.5, deviation=DEVIATIONS[reward])
    times: dict[str, list[float]] = {}
    for start in range(0, runs, AT_ONCE):
        shape = (min(AT_ONCE, runs - start), HORIZON)
        arms = rng.integers(0, 2, shape)
        rewards = REWARDS[reward](rng, shape)
        if reward.startswith("conversion"):
            raised = rng.random(shape) < lift / (1 - float(reward.split()[1]) / 100)
            rewards = np.maximum(rewards, (arms == 1) & raised) * 1.0
        else:
            rewards = rewards + lift * arms
        for name, first in methods(arms, rewards, reward, lift).items():
            times.setdefault(name, []).extend(first.tolist())
    return {name: summary(np.array(each)) for name, each in times.items()}


def methods(
    arms: NDArray[np.int64], rewards: NDArray[np.float64], reward: str, lift: float
) -> dict[str, NDArray[np.float64]]:
    compare = functools.partial(difference_sequence, candidate=1, baseline=0)
    free = compare(arms, rewards, 0.5)
    found = {
        "sequence": until(free.lower > 0),
        "horizon": until(compare(arms, rewards, 0.5, horizon=HORIZON).lower > 0),
    }
    if reward.startswith("conversion"):
        bounded = bounded_difference_sequence(
            arms, rewards, 0.5, candidate=1, baseline=0, reward_range=(0, 1), importance=0.5
        )
        found["range 0..1"] = until(bounded.lower > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = free.total / np.sqrt(free.variance)
        error2 = free.variance / free.n.astype(np.float64) ** 2
        # mSPRT with a normal prior of the true lift's size: the e-value of Johari et al. 2017.
        log_e = 0.5 * np.log(error2 / (error2 + lift**2)) + z**2 * lift**2 / (
            2 * (error2 + lift**2)
        )
    late = free.n > 100
    found["mSPRT, tau = lift"] = until((log_e > -math.log(ALPHA)) & (z > 0) & late)
    looks = np.arange(1, 11) * (HORIZON // 10) - 1
    crossed = np.zeros(z.shape, dtype=bool)
    crossed[:, looks] = z[:, looks] > OBRIEN_FLEMING * np.sqrt(10 / np.arange(1, 11))
    found["O'Brien-Fleming, 10 looks"] = until(crossed)
    last = np.zeros(z.shape, dtype=bool)
    last[:, -1] = z[:, -1] > 1.959964
    found["fixed horizon"] = until(last)
    return found


def until(hit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Outcomes until the first hit of each run, inf without one."""
    return np.where(hit.any(axis=-1), hit.argmax(axis=-1) + 1.0, np.inf)


def summary(times: NDArray[np.float64]) -> Row:
    hits = int(np.isfinite(times).sum())
    low, median, high = np.quantile(times, [0.1, 0.5, 0.9], method="higher")
    return {"runs": times.size, "decided": hits, "p10": low, "median": median, "p90": high}


def wine(runs: int) -> dict[str, Row]:
    """Customers until the better of two ElasticNets is named, unpaired and paired."""
    ours, theirs = squared_errors()
    rng = np.random.default_rng(8)
    unpaired, paired = [], []
    for _ in range(runs):
        row = rng.integers(0, ours.size, HORIZON)
        arms = rng.integers(0, 2, HORIZON)
        rewards = np.where(arms == 1, ours[row], theirs[row])
        found = difference_sequence(arms, rewards, 0.5, candidate=1, baseline=0)
        unpaired.append(float(until(found.lower > 0)))
        few = row[:4000]
        paired.append(float(until(paired_sequence(ours[few], theirs[few]).lower > 0)))
    return {"unpaired": summary(np.array(unpaired)), "paired": summary(np.array(paired))}


def describe(row: Row, cells: int) -> str:
    if "methods" in row:
        lines = [row["cell"]]
        for name, each in row["methods"].items():
            ci = stats.binomtest(each["decided"], each["runs"]).proportion_ci(method="wilson")
            lines.append(
                f"  {name:28} {each['decided'] / each['runs']:6.1%} [{ci.low:.1%}, {ci.high:.1%}]"
                f"  median {each['median']:,.0f}  ({each['p10']:,.0f} to {each['p90']:,.0f})"
            )
        return "\n".join(lines)
    ci = stats.binomtest(row["wrong"], row["runs"]).proportion_ci(method="wilson")
    above = stats.binom.sf(row["wrong"] - 1, row["runs"], ALPHA) < 0.01 / cells
    withheld = ", ".join(f"{k} {v / row['runs']:.0%}" for k, v in row["withheld"].items())
    return (
        f"{row['cell']:58} {row['wrong'] / row['runs']:7.2%} [{ci.low:.2%}, {ci.high:.2%}]"
        f"{'  ABOVE' if above else ''}  {withheld}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("grid", "power"))
    parser.add_argument(
        "--runs",
        type=int,
        help="runs per plain cell (2000; a quarter elsewhere), or power cell (500)",
    )
    parser.add_argument("--out", type=Path, help="file of finished cells; taken up again")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the runs")
    arguments = parser.parse_args()
    runs = arguments.runs or (2000 if arguments.what == "grid" else 500)
    runs = max(runs // 20, 20) if arguments.quick else runs
    rows: list[Row] = []
    if arguments.out and arguments.out.exists():
        rows = [json.loads(line) for line in arguments.out.read_text().splitlines()]
    work = grid if arguments.what == "grid" else power
    started = time.monotonic()
    cells = len(SITUATIONS) * len(REWARDS) * len(SHARES)
    for row in rows:
        print(describe(row, cells))
    for row in work(runs, {row["cell"] for row in rows}):
        print(describe(row, cells), flush=True)
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
