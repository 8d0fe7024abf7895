"""False winners while a policy learns: equal arms, watched at every request.

    python benchmarks/learning_verdicts.py [--runs 5000] [--requests 4000]

Two equal arms are drawn by Thompson sampling with a floor of 0.05, which learns after every 20
requests (by the normal approximation of its posteriors, so that thousands of runs take minutes; the
propensity of each draw is exact all the same, and that is all that the verdict uses). "Wrong" means
that an interval of the difference leaves 0 out at any request. The intervals are those of the
verdict on the logged propensities, asymptotic and, where rewards have a range, exact; beside them
the 95 % interval of a test for one look, from 50 requests of each arm on. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mlops.stats.aipw import overlap
from mlops.stats.bounded import bounded_difference_sequence
from mlops.stats.difference import difference_sequence

Floats = NDArray[np.float64]
FLOOR, BATCH, ALPHA, AT_ONCE = 0.05, 20, 0.05, 100
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
REWARDS: dict[str, tuple[Draw, bool]] = {
    "conversion 5 %": (lambda rng, shape: (rng.random(shape) < 0.05).astype(np.float64), True),
    "conversion 30 %": (lambda rng, shape: (rng.random(shape) < 0.3).astype(np.float64), True),
    "normal": (lambda rng, shape: rng.standard_normal(shape), False),
    "lognormal, sigma 1": (lambda rng, shape: rng.lognormal(0.0, 1.0, shape), False),
}


def play(
    draw: Draw, rng: np.random.Generator, runs: int, requests: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Arm, reward and probability of arm 1 of each request, (runs, requests)."""
    rewards = draw(rng, (runs, requests))
    arms = np.empty((runs, requests), dtype=np.int64)
    shares = np.empty((runs, requests))
    n, total, squares = (np.zeros((runs, 2)) for _ in range(3))
    for start in range(0, requests, BATCH):
        part = slice(start, start + BATCH)
        mean = (total + 0.5) / (n + 1)
        spread = np.maximum(squares / np.maximum(n, 1) - (total / np.maximum(n, 1)) ** 2, 1e-3)
        wide = np.sqrt((spread / (n + 1)).sum(axis=1))
        best = norm.cdf((mean[:, 1] - mean[:, 0]) / wide)
        share = FLOOR + (1 - 2 * FLOOR) * best
        shares[:, part] = share[:, None]
        arms[:, part] = rng.random((runs, BATCH)) < share[:, None]
        for arm in (0, 1):
            own = arms[:, part] == arm
            n[:, arm] += own.sum(axis=1)
            total[:, arm] += (own * rewards[:, part]).sum(axis=1)
            squares[:, arm] += (own * rewards[:, part] ** 2).sum(axis=1)
    return arms, rewards, shares


def naive(arms: NDArray[np.int64], rewards: Floats) -> NDArray[np.bool_]:
    """Whether a z-test of plain means is ever significant, (runs,)."""
    means, errors, enough = [], [], np.ones(arms.shape, dtype=bool)
    for arm in (0, 1):
        own = arms == arm
        n = np.maximum(np.cumsum(own, axis=1), 1)
        mean = np.cumsum(own * rewards, axis=1) / n
        means.append(mean)
        errors.append((np.cumsum(own * rewards**2, axis=1) / n - mean**2) / n)
        enough &= n >= 50
    z = np.abs(means[1] - means[0]) / np.sqrt(np.maximum(errors[0] + errors[1], 1e-12))
    hit: NDArray[np.bool_] = (enough & (z > norm.ppf(1 - ALPHA / 2))).any(axis=1)
    return hit


def measure(name: str, runs: int, requests: int) -> dict[str, int]:
    """How many runs each interval is wrong in."""
    draw, has_range = REWARDS[name]
    wrong = dict.fromkeys(("verdict", "with a range", "naive"), 0)
    for start in range(0, runs, AT_ONCE):
        rng = np.random.default_rng([start, list(REWARDS).index(name)])
        arms, rewards, share = play(draw, rng, min(AT_ONCE, runs - start), requests)
        propensities = np.where(arms == 1, share, 1 - share)
        weight = overlap(share, 1 - share)
        found = difference_sequence(
            arms, rewards, propensities, candidate=1, baseline=0, importance=weight,
            shares=(share, 1 - share), alpha=ALPHA,
        )  # fmt: skip
        wrong["verdict"] += int(found.excludes().any(axis=1).sum())
        if has_range:
            exact = bounded_difference_sequence(
                arms, rewards, propensities, candidate=1, baseline=0, reward_range=(0, 1),
                importance=weight, alpha=ALPHA,
            )  # fmt: skip
            wrong["with a range"] += int(exact.excludes().any(axis=1).sum())
        wrong["naive"] += int(naive(arms, rewards).sum())
    if not has_range:
        del wrong["with a range"]
    return wrong


def share_of(hits: int, runs: int) -> str:
    """A share with its 95 % interval (Wilson), per cent."""
    z, p = 1.96, hits / runs
    middle, root = p + z**2 / (2 * runs), z * math.sqrt(p * (1 - p) / runs + z**2 / (4 * runs**2))
    low, high = (100 * (middle + sign * root) / (1 + z**2 / runs) for sign in (-1, 1))
    return f"{100 * p:.2f} % [{max(low, 0):.1f}, {high:.1f}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--requests", type=int, default=4000)
    asked = parser.parse_args()
    print(f"| reward ({asked.runs} runs, {asked.requests} requests) | verdict | range | naive |")
    print("|---|---|---|---|", flush=True)
    for name in REWARDS:
        wrong = measure(name, asked.runs, asked.requests)
        cells = [
            share_of(wrong[each], asked.runs) if each in wrong else ""
            for each in ("verdict", "with a range", "naive")
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
