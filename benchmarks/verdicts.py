"""How often the verdict is wrong, and how often it is found: simulations of `mlops.stats`.

    python benchmarks/verdicts.py [--runs 10000] [--processes 2] [--json]

False winners: runs of two equal arms, watched after every observation, in which the confidence
sequence ever excludes 0. "above" says whether the count is significantly above alpha (one-sided
binomial test at 99 %). Power: the lift is the one a fixed two-sided z-test at alpha finds with
90 % power at the same horizon; the ratio compares runs decided by then with what that test found.

Horizon: 20,000 observations, 50,000 at 99/1. The squared errors are those of two ElasticNets on the
wine data, out of sample, drawn with replacement. Seeds are fixed: equal arguments, equal figures.
"""

import argparse
import csv
import functools
import json
import math
import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from mlops.stats.aipw import overlap
from mlops.stats.bounded import bounded_difference_sequence
from mlops.stats.difference import difference_sequence
from mlops.stats.sample_ratio import ALPHA as RATIO_ALPHA
from mlops.stats.sample_ratio import CONCENTRATIONS, log_evidence, sample_ratio_path

Floats = NDArray[np.float64]
Arms = NDArray[np.int64]

ALPHA = 0.05
POWER = 0.9
RUNS_AT_ONCE = 5
WINE = Path(__file__).resolve().parents[1] / "wine_example" / "data" / "train.csv"

SHARES = {"50/50": 0.5, "90/10": 0.1, "99/1": 0.01}
REWARDS = ("conversion 10 %", "conversion 1 %", "squared error", "lognormal(0, 1)")


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk of runs of one cell; `seed` makes it repeatable in any order of execution."""

    family: str
    cell: str
    runs: int
    seed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """Counts of one cell.

    Attributes:
        family: What is simulated.
        cell: Which case of it.
        runs: Simulated runs.
        hits: Runs in which the event happened.
        compared: Runs in which the fixed test found the lift, for power cells.
        opened: Runs whose burn-in ended before the horizon, for sequences with one.
    """

    family: str
    cell: str
    runs: int
    hits: int
    compared: int
    opened: int


def horizon(share: float) -> int:
    return 50_000 if share < 0.05 else 20_000


@functools.cache
def squared_errors() -> tuple[Floats, Floats]:
    """Negated squared errors of ElasticNet(0.1) and ElasticNet(1.0), five-fold out of sample."""
    from sklearn.linear_model import ElasticNet
    from sklearn.model_selection import KFold, cross_val_predict

    with WINE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "quality"]
    features = np.array([[float(row[name]) for name in names] for row in rows])
    truth = np.array([float(row["quality"]) for row in rows])
    folds = KFold(5, shuffle=True, random_state=0)

    def errors(alpha: float) -> Floats:
        guess = cross_val_predict(ElasticNet(alpha=alpha), features, truth, cv=folds)
        negated: Floats = -((guess - truth) ** 2)
        return negated

    return errors(0.1), errors(1.0)


def draw_rewards(rng: np.random.Generator, reward: str, arms: Arms, lift: float) -> Floats:
    """Rewards of the given arms; arm 1 is better by `lift`."""
    if reward.startswith("conversion"):
        return (rng.random(arms.shape) < conversion(reward) + lift * arms).astype(np.float64)
    if reward == "squared error":
        pool = squared_errors()[0]
        drawn: Floats = pool[rng.integers(0, pool.size, arms.shape)] + lift * arms
        return drawn
    shifted: Floats = np.exp(rng.standard_normal(arms.shape)) + lift * arms
    return shifted


def conversion(reward: str) -> float:
    return float(reward.split()[1]) / 100


def planned_lift(reward: str, share: float, deviation: float | None = None) -> float:
    """The lift that a z-test at the horizon finds with 90 % power.

    `deviation` is the standard deviation of rewards that are not of this module.
    """
    n = horizon(share)
    z = float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER))
    if reward.startswith("conversion"):
        base = conversion(reward)

        def excess(lift: float) -> float:
            ours, theirs = (base + lift) * (1 - base - lift), base * (1 - base)
            return lift - z * math.sqrt(ours / (n * share) + theirs / (n * (1 - share)))

        return float(optimize.brentq(excess, 1e-6, 0.8))
    if deviation is not None:
        variance = deviation**2
    else:
        variance = squared_errors()[0].var() if reward == "squared error" else (math.e - 1) * math.e
    return float(z * math.sqrt(variance / (n * share) + variance / (n * (1 - share))))


def draw_arms(
    rng: np.random.Generator, share: float, shape: tuple[int, int]
) -> tuple[Arms, Floats]:
    arms = (rng.random(shape) < share).astype(np.int64)
    return arms, np.where(arms == 1, share, 1 - share)


def z_test(arms: Arms, rewards: Floats) -> NDArray[np.bool_]:
    """Whether a z-test at the end of each run finds a better arm 1."""
    parts = []
    for arm in (1, 0):
        mask = arms == arm
        n = mask.sum(axis=-1)
        mean = np.where(mask, rewards, 0).sum(axis=-1) / n
        spread = np.where(mask, (rewards - mean[:, None]) ** 2, 0).sum(axis=-1) / (n - 1)
        parts.append((mean, spread / n))
    error = np.sqrt(parts[0][1] + parts[1][1])
    found: NDArray[np.bool_] = parts[0][0] - parts[1][0] > stats.norm.ppf(1 - ALPHA / 2) * error
    return found


Counts = tuple[int, int, int]


def stationary(rng: np.random.Generator, cell: str, runs: int, *, lifted: bool) -> Counts:
    """One of the twelve cells; hits are exclusions of 0 (above 0 where the arm is better)."""
    split, reward = cell.split(", ", 1)
    share = SHARES[split]
    arms, propensities = draw_arms(rng, share, (runs, horizon(share)))
    rewards = draw_rewards(rng, reward, arms, planned_lift(reward, share) if lifted else 0.0)
    found = difference_sequence(arms, rewards, propensities, candidate=1, baseline=0, alpha=ALPHA)
    opened = int(found.ready[:, -1].sum())
    if lifted:
        ever = (found.lower > 0).any(axis=-1)
        return int(ever.sum()), int(z_test(arms, rewards).sum()), opened
    return int(found.excludes().any(axis=-1).sum()), 0, opened


def moving(rng: np.random.Generator, cell: str, runs: int) -> Counts:
    """Weights change halfway while the base rate moves from 5 % to 15 %."""
    change, average = cell.split(", ")
    before, after = (SHARES[each] for each in change.split(" to "))
    n = 20_000
    late = np.arange(n) >= n // 2
    share = np.where(late, after, before)
    arms = (rng.random((runs, n)) < share).astype(np.int64)
    propensities = np.where(arms == 1, share, 1 - share)
    rewards = (rng.random((runs, n)) < np.where(late, 0.15, 0.05)).astype(np.float64)
    importance = overlap(share, 1 - share) if average == "overlap" else 1.0
    found = difference_sequence(
        arms, rewards, propensities, candidate=1, baseline=0, importance=importance, alpha=ALPHA
    )
    return int(found.excludes().any(axis=-1).sum()), 0, int(found.ready[:, -1].sum())


def bandit(rng: np.random.Generator, cell: str, runs: int) -> Counts:
    """Two equal arms under a greedy policy with a floor, updated every 100 observations."""
    floor, batch, n = 0.1, 100, 20_000
    wins, pulls = np.zeros((2, runs)), np.zeros((2, runs))
    arms, share = np.zeros((runs, n), dtype=np.int64), np.full(runs, 0.5)
    propensities, rewards = np.zeros((runs, n)), np.zeros((runs, n))
    for start in range(0, n, batch):
        span = slice(start, start + batch)
        arms[:, span] = rng.random((runs, batch)) < share[:, None]
        chosen = arms[:, span] == 1
        propensities[:, span] = np.where(chosen, share[:, None], 1 - share[:, None])
        rewards[:, span] = rng.random((runs, batch)) < 0.1
        for arm, mask in enumerate((~chosen, chosen)):
            wins[arm] += (rewards[:, span] * mask).sum(axis=1)
            pulls[arm] += mask.sum(axis=1)
        rate = (wins + 1) / (pulls + 2)
        share = np.where(rate[1] > rate[0], 1 - floor, floor)
    found = difference_sequence(arms, rewards, propensities, candidate=1, baseline=0, alpha=ALPHA)
    return int(found.excludes().any(axis=-1).sum()), 0, int(found.ready[:, -1].sum())


def clustered(rng: np.random.Generator, cell: str, runs: int) -> Counts:
    """Sticky units of very different rates return; looked at every 250 of 20,000 requests.

    2,000 units; a new one at each tenth request, otherwise a random known one. Rates of units are
    Beta(0.2, 1.8): mean 10 %, correlation of two requests of one unit 1/3.
    """
    n, every, look = 20_000, 10, 250
    units = n // every
    request = np.arange(n)
    unit = (rng.random((runs, n)) * (request // every + 1)).astype(np.int64)
    unit[:, ::every] = request[::every] // every
    rate = rng.beta(0.2, 1.8, (runs, units))
    unit_arms = rng.integers(0, 2, (runs, units))
    rewards = (rng.random((runs, n)) < np.take_along_axis(rate, unit, axis=1)).astype(np.float64)
    if cell == "requests passed as they come (wrong)":
        arms = np.take_along_axis(unit_arms, unit, axis=1)
        found = difference_sequence(arms, rewards, 0.5, candidate=1, baseline=0, alpha=ALPHA)
        return int(found.excludes().any(axis=-1).sum()), 0, int(found.ready[:, -1].sum())
    sums, visits = np.zeros((runs, units)), np.zeros((runs, units))
    row = np.arange(runs)[:, None]
    ever, opened = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
    for end in range(look, n + 1, look):
        span = slice(end - look, end)
        np.add.at(sums, (row, unit[:, span]), rewards[:, span])
        np.add.at(visits, (row, unit[:, span]), 1)
        known = end // every
        means = sums[:, :known] / visits[:, :known]
        found = difference_sequence(
            unit_arms[:, :known], means, 0.5, candidate=1, baseline=0, alpha=ALPHA
        )
        ever |= found.excludes()[:, -1]
        opened |= found.ready[:, -1]
    return int(ever.sum()), 0, int(opened.sum())


def bounded(rng: np.random.Generator, cell: str, runs: int, *, lifted: bool) -> Counts:
    """The exact sequence for rewards declared in [0, 1]."""
    split, reward = cell.split(", ", 1)
    share = SHARES[split]
    arms, propensities = draw_arms(rng, share, (runs, horizon(share)))
    rewards = draw_rewards(rng, reward, arms, planned_lift(reward, share) if lifted else 0.0)
    found = bounded_difference_sequence(
        arms,
        rewards,
        propensities,
        candidate=1,
        baseline=0,
        reward_range=(0.0, 1.0),
        importance=overlap(share, 1 - share),
        alpha=ALPHA,
    )
    if lifted:
        ever = (found.lower > 0).any(axis=-1)
        return int(ever.sum()), int(z_test(arms, rewards).sum()), runs
    return int(found.excludes().any(axis=-1).sum()), 0, runs


def ratio(rng: np.random.Generator, cell: str, runs: int) -> Counts:
    """Alarms of the sample-ratio test within 20,000 observations, watched at each."""
    n = 20_000
    threshold = -math.log(RATIO_ALPHA)
    if " to " in cell:
        before, after = (SHARES[each] for each in cell.split(" to "))
        strata = (np.arange(n) >= n // 2).astype(np.int64)
        weights = [[1 - before, before], [1 - after, after]]
        share = np.where(strata == 0, before, after)
        paths = (
            sample_ratio_path((rng.random(n) < share).astype(np.int64), strata, weights)
            for _ in range(runs)
        )
        return sum(int(path.max() >= threshold) for path in paths), 0, runs
    promised, real = {"52/48 for 50/50": (0.5, 0.48)}.get(cell) or (SHARES[cell], SHARES[cell])
    ones = np.cumsum(rng.random((runs, n)) < real, axis=1)
    counts = np.stack([np.arange(1, n + 1) - ones, ones], axis=-1)
    log_e = log_evidence(counts, np.array([1 - promised, promised]))
    return int((log_e.max(axis=1) >= threshold).sum()), 0, runs


FALSE_WINNERS = [f"{split}, {reward}" for split in SHARES for reward in REWARDS]
BOUNDED = [f"{split}, {reward}" for split in SHARES for reward in REWARDS[:2]]

# family -> (share of --runs, simulation, cells)
Simulation = Callable[[np.random.Generator, str, int], Counts]
FAMILIES: dict[str, tuple[float, Simulation, list[str]]] = {
    "false winners": (1.0, functools.partial(stationary, lifted=False), FALSE_WINNERS),
    "power": (0.1, functools.partial(stationary, lifted=True), FALSE_WINNERS),
    "weights change, base rate 5 % to 15 %": (
        0.3,
        moving,
        [
            f"{change}, {average}"
            for change in ("90/10 to 50/50", "50/50 to 90/10", "99/1 to 50/50")
            for average in ("overlap", "plain")
        ],
    ),
    "greedy bandit, equal arms": (0.2, bandit, ["floor 10 %"]),
    "returning units": (0.2, clustered, ["unit means", "requests passed as they come (wrong)"]),
    "bounded, false winners": (0.05, functools.partial(bounded, lifted=False), BOUNDED),
    "bounded, power": (0.03, functools.partial(bounded, lifted=True), BOUNDED),
    "sample ratio, false alarms": (0.2, ratio, [*SHARES, "90/10 to 50/50"]),
    "sample ratio, found": (0.2, ratio, ["52/48 for 50/50"]),
}
LIMITS = {"sample ratio, false alarms": RATIO_ALPHA}
CHUNK = 50


def tasks(runs: int) -> Iterator[Task]:
    """All work in chunks, the long families first."""
    for family_number, (family, (part, _, cells)) in enumerate(FAMILIES.items()):
        wanted = max(CHUNK, round(runs * part))
        for cell_number, cell in enumerate(cells):
            for chunk, start in enumerate(range(0, wanted, CHUNK)):
                size = min(CHUNK, wanted - start)
                yield Task(family, cell, size, (family_number, cell_number, chunk))


def simulate(task: Task) -> tuple[Task, Counts]:
    """Runs one chunk, a few runs at a time so that arrays stay in the cache."""
    rng = np.random.default_rng(task.seed)
    run = FAMILIES[task.family][1]
    totals = np.zeros(3, dtype=np.int64)
    for start in range(0, task.runs, RUNS_AT_ONCE):
        totals += run(rng, task.cell, min(RUNS_AT_ONCE, task.runs - start))
    return task, (int(totals[0]), int(totals[1]), int(totals[2]))


def measure(runs: int, processes: int) -> list[Cell]:
    """All cells, in the order of `FAMILIES`."""
    squared_errors()  # fork carries the fitted errors into the workers
    sums: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros(4))
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for task, counts in pool.imap_unordered(simulate, tasks(runs)):
            sums[task.family, task.cell] += (task.runs, *counts)
            print(f"\r{time.strftime('%X')} {task.family:40}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return [
        Cell(family, cell, *(int(each) for each in sums[family, cell]))
        for family, (_, _, cells) in FAMILIES.items()
        for cell in cells
    ]


def describe(cell: Cell) -> str:
    """One line of the table."""
    rate = stats.binomtest(cell.hits, cell.runs).proportion_ci(method="wilson")
    line = (
        f"  {cell.cell:38} {cell.hits / cell.runs:7.2%}  [{rate.low:.2%}, {rate.high:.2%}]"
        f"  opened {cell.opened / cell.runs:4.0%}"
    )
    if cell.compared:
        fixed = cell.compared / cell.runs
        return f"{line}  z-test {fixed:.1%}  ratio {cell.hits / cell.compared:.2f}"
    limit = LIMITS.get(cell.family, ALPHA)
    if cell.family == "sample ratio, found":
        return line
    above = cell.hits > stats.binom.ppf(0.99, cell.runs, limit)
    return f"{line}  {'above' if above else 'not above'} {limit:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000, help="runs per false-winner cell")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    started = time.monotonic()
    cells = measure(arguments.runs, arguments.processes)
    elapsed_s = round(time.monotonic() - started)
    if arguments.json:
        print(
            json.dumps(
                {
                    "schema_version": 1,
                    "elapsed_s": elapsed_s,
                    "cells": [asdict(each) for each in cells],
                }
            )
        )
        return
    for family in FAMILIES:
        members = [each for each in cells if each.family == family]
        print(f"\n{family} ({members[0].runs:,} runs per line)")
        for each in members:
            print(describe(each))
    print(f"\n{elapsed_s} s; sample-ratio concentrations {CONCENTRATIONS}, alpha {RATIO_ALPHA}")


if __name__ == "__main__":
    main()
