"""Coverage and false winners while a policy learns by the request: five arms, floor 0.05.

    python benchmarks/contextual_verdicts.py [--runs 1000] [--requests 4000]

A request has one feature, 0 or 1. The policy gives each kind of request to the arm that earned most
from its kind, as `linear-greedy` does, learns after every 20 requests, and draws evenly until each
arm has ten rewards. The intervals are those of the verdict: each arm against the first, alpha
divided by four, watched at every request. "Wrong" means that one of them ever leaves out the mean
difference of the requests so far, which is 0 where arms are equal. Beside them the 95 % interval of
a test for one look, divided by four as well, from 50 requests of each arm on. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from learning_verdicts import share_of
from numpy.typing import NDArray
from scipy.stats import norm

from mlops.stats.aipw import overlap
from mlops.stats.bounded import bounded_difference_sequence
from mlops.stats.difference import difference_sequence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ARMS, FLOOR, BATCH, ALPHA, AT_ONCE, WARM_UP = 5, 0.05, 20, 0.05, 50, 10
#: Of requests of kind 1, by arm; of kind 0 the opposite, so that arms are equal over both.
EFFECTS = np.array([0.0, 0.2, -0.2, 0.1, -0.1])


@dataclass(frozen=True)
class Case:
    """A world.

    Attributes:
        name: What it is.
        differs: Whether the best arm depends on the request.
        blocks: Whether all requests of kind 0 come first in every 1,000.
        adversary: Whether requests earn far more while the policy prefers the second arm.
        skewed: Whether rewards are lognormal, without a range, in place of 0 or 1.
    """

    name: str
    differs: bool = False
    blocks: bool = False
    adversary: bool = False
    skewed: bool = False


CASES = (
    Case("equal arms, 0 or 1"),
    Case("equal arms, lognormal", skewed=True),
    Case("equal arms, kinds in blocks", blocks=True),
    Case("equal arms, an adversary orders requests", adversary=True),
    Case("the same, lognormal", adversary=True, skewed=True),
    Case("arms differ by kind, equal over both", differs=True),
    Case("the same, kinds in blocks", differs=True, blocks=True),
)


@dataclass
class Played:
    """Of each request: its arm, reward, (runs, n), probabilities and means of all, (runs, n, k)."""

    arms: Ints
    rewards: Floats
    shares: Floats
    means: Floats
    importance: Floats


def play(case: Case, rng: np.random.Generator, runs: int, requests: int) -> Played:
    shape = (runs, requests)
    arms, rewards = np.empty(shape, dtype=np.int64), np.empty(shape)
    shares, means = np.empty((*shape, ARMS)), np.empty((*shape, ARMS))
    importance = np.empty(shape)
    kinds = rng.integers(0, 2, shape)
    if case.blocks:
        kinds[:] = np.arange(requests) % 1_000 >= 500
    n, total = np.zeros((runs, 2, ARMS)), np.zeros((runs, 2, ARMS))
    every = np.arange(runs)
    for start in range(0, requests, BATCH):
        part = slice(start, start + BATCH)
        kind = kinds[:, part]
        best = ((total + 0.3) / (n + 1)).argmax(axis=2)
        leader = np.take_along_axis(best, kind, axis=1)
        share = FLOOR + (1 - ARMS * FLOOR) * np.eye(ARMS)[leader]
        # Weights of equal shares, and of the least that two arms may have.
        warm = n.sum(axis=1).min(axis=1) < WARM_UP
        share[warm] = 1 / ARMS
        importance[:, part] = np.where(
            warm, overlap(np.array(1 / ARMS), np.array(1 / ARMS)), overlap(FLOOR, FLOOR)
        )[:, None]
        base = 0.2 + 0.2 * kind
        if case.adversary:
            base = 0.1 + 0.6 * (best[:, :1] == 1) * np.ones_like(kind)
        mean = np.repeat(base[..., None], ARMS, axis=2)
        if case.differs:
            mean = 0.4 + EFFECTS * np.where(kind == 1, 1, -1)[..., None]
        drawn = (rng.random((runs, BATCH, 1)) > share.cumsum(axis=2)[..., :-1]).sum(axis=2)
        own = np.take_along_axis(mean, drawn[..., None], axis=2)[..., 0]
        noise = rng.lognormal(-0.5, 1.0, own.shape) if case.skewed else None
        reward = (rng.random(own.shape) < own).astype(np.float64) if noise is None else own * noise
        arms[:, part], rewards[:, part] = drawn, reward
        shares[:, part], means[:, part] = share, mean
        for at in range(BATCH):
            cell = every, kind[:, at], drawn[:, at]
            n[cell] += 1
            total[cell] += reward[:, at]
    return Played(arms, rewards, shares, means, importance)


def naive(played: Played, candidate: int) -> NDArray[np.bool_]:
    """Whether a z-test of plain means is ever wrong, (runs,)."""
    means, errors, enough = [], [], np.ones(played.arms.shape, dtype=bool)
    for arm in (0, candidate):
        own = played.arms == arm
        n = np.maximum(np.cumsum(own, axis=1), 1)
        mean = np.cumsum(own * played.rewards, axis=1) / n
        means.append(mean)
        errors.append((np.cumsum(own * played.rewards**2, axis=1) / n - mean**2) / n)
        enough &= n >= 50
    truth = (played.means[..., candidate] - played.means[..., 0]).cumsum(axis=1)
    truth /= np.arange(1, truth.shape[1] + 1)
    z = np.abs(means[1] - means[0] - truth) / np.sqrt(np.maximum(sum(errors), 1e-12))
    wrong: NDArray[np.bool_] = (enough & (z > norm.ppf(1 - ALPHA / 8))).any(axis=1)
    return wrong


def wrong_in(case: Case, played: Played) -> dict[str, NDArray[np.bool_]]:
    """Which runs each interval is ever wrong in, for any of the arms, (runs,)."""
    runs = len(played.arms)
    found = {each: np.zeros(runs, dtype=bool) for each in ("verdict", "with a range", "naive")}
    p = np.take_along_axis(played.shares, played.arms[..., None], axis=2)[..., 0]
    weight = played.importance
    for candidate in range(1, ARMS):
        truth = ((played.means[..., candidate] - played.means[..., 0]) * weight).cumsum(axis=1)
        truth /= weight.cumsum(axis=1)
        by_shares = difference_sequence(
            played.arms, played.rewards, p, candidate=candidate, baseline=0, importance=weight,
            shares=(played.shares[..., candidate], played.shares[..., 0]), alpha=ALPHA / 4,
        )  # fmt: skip
        missed = (by_shares.lower > truth) | (by_shares.upper < truth)
        found["verdict"] |= missed.any(axis=1)
        if not case.skewed:
            exact = bounded_difference_sequence(
                played.arms, played.rewards, p, candidate=candidate, baseline=0,
                reward_range=(0, 1), importance=weight, alpha=ALPHA / 4,
            )  # fmt: skip
            missed = (exact.lower > truth) | (exact.upper < truth)
            found["with a range"] |= missed.any(axis=1)
        found["naive"] |= naive(played, candidate)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=4000)
    asked = parser.parse_args()
    print(f"| world ({asked.runs} runs, {asked.requests} requests) | verdict | range | naive |")
    print("|---|---|---|---|", flush=True)
    for number, case in enumerate(CASES):
        wrong = dict.fromkeys(("verdict", "with a range", "naive"), 0)
        for start in range(0, asked.runs, AT_ONCE):
            rng = np.random.default_rng([start, number])
            played = play(case, rng, min(AT_ONCE, asked.runs - start), asked.requests)
            for name, runs in wrong_in(case, played).items():
                wrong[name] += int(runs.sum())
        cells = [
            "" if case.skewed and each == "with a range" else share_of(wrong[each], asked.runs)
            for each in wrong
        ]
        print(f"| {case.name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
