"""What learning costs: regret of our policies and of peers' on standard problems.

    python benchmarks/bandits.py [--runs 50] [--requests 10000] [--problem TEXT] [--policy TEXT]
        [--json]

Regret is the sum, over the requests, of the best arm's mean then minus that of the arm drawn. All
learn after every 20 requests. Peers take part where they are installed (`pip install mabwiser
river vowpalwabbit`). None of them keeps a floor under every arm, so all play twice: without one
(ours with a floor of one millionth), and with a floor of 0.05 (of half an equal share where arms
are many), for which a peer draws uniformly from all arms that often. Seeds are fixed: equal
arguments, equal figures. For Bernoulli arms the bound of Lai and Robbins (1985) stands beside.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlops.policies.base import Credit, State
from mlops.policies.making import make_policy

Floats = NDArray[np.float64]
BATCH = 20


@dataclass(frozen=True)
class Problem:
    """A world: means of the arms at a request, and rewards around them."""

    name: str
    means: Callable[[float], Sequence[float]]
    draw: Callable[[np.random.Generator, Floats], Floats]
    changes: bool = False
    binary: bool = False


def _bernoulli(rng: np.random.Generator, means: Floats) -> Floats:
    return (rng.random(means.shape) < means).astype(np.float64)


def _normal(rng: np.random.Generator, means: Floats) -> Floats:
    return means + rng.standard_normal(means.shape)


def _heavy(rng: np.random.Generator, means: Floats) -> Floats:
    return means + rng.standard_t(3, means.shape) / math.sqrt(3)


PROBLEMS = (
    Problem("Bernoulli, far: 0.1, 0.3", lambda _: (0.1, 0.3), _bernoulli, binary=True),
    Problem("Bernoulli, close: 0.50, 0.55", lambda _: (0.50, 0.55), _bernoulli, binary=True),
    Problem(
        "Bernoulli, ten arms", lambda _: (0.1,) * 3 + (0.15,) * 6 + (0.25,), _bernoulli, binary=True
    ),
    Problem("Gaussian, sd 1: 0, 0.2, 0.5", lambda _: (0.0, 0.2, 0.5), _normal),
    Problem("heavy-tailed (t, 3 df), sd 1: 0, 0.5", lambda _: (0.0, 0.5), _heavy),
    Problem(
        "switching every quarter: 0.2, 0.6",
        lambda at: (0.2, 0.6) if int(at * 4) % 2 == 0 else (0.6, 0.2),
        _bernoulli, changes=True, binary=True,
    ),
    Problem(
        "drifting: 0.4 and 0.4 + 0.3 sin",
        lambda at: (0.4, 0.4 + 0.3 * math.sin(4 * math.pi * at)),
        _bernoulli, changes=True, binary=True,
    ),
)  # fmt: skip


class Player(Protocol):
    """Draws arms for a batch, and learns of it."""

    def choose(self, n: int) -> NDArray[np.int64]: ...

    def learn(self, arms: NDArray[np.int64], rewards: Floats) -> None: ...


class Ours:
    """One of our policies."""

    def __init__(self, text: str, arms: int, rng: np.random.Generator) -> None:
        self._policy = make_policy(text, [1 / arms] * arms)
        self._state = State(0, (1 / arms,) * arms)
        self._arms, self._rng = arms, rng

    def choose(self, n: int) -> NDArray[np.int64]:
        shares = np.asarray(self._policy.probabilities({}, self._state))
        return self._rng.choice(self._arms, n, p=shares / shares.sum())

    def learn(self, arms: NDArray[np.int64], rewards: Floats) -> None:
        shares = self._policy.probabilities({}, self._state)
        earned = [
            Credit(int(arm), shares[arm], float(reward))
            for arm, reward in zip(arms, rewards, strict=True)
        ]
        self._state = self._policy.update(self._state, earned)


class MabWiser:
    """A policy of MABWiser (Fidelity)."""

    def __init__(self, policy: Any, arms: int, rng: np.random.Generator) -> None:  # noqa: ANN401
        self._mab = importlib.import_module("mabwiser.mab").MAB(
            list(range(arms)), policy, seed=int(rng.integers(2**31))
        )
        self._begun, self._arms, self._rng = False, arms, rng

    def choose(self, n: int) -> NDArray[np.int64]:
        if not self._begun:
            return self._rng.integers(0, self._arms, n)
        return np.array([self._mab.predict() for _ in range(n)])

    def learn(self, arms: NDArray[np.int64], rewards: Floats) -> None:
        fit = self._mab.partial_fit if self._begun else self._mab.fit
        fit(decisions=arms, rewards=rewards)
        self._begun = True


class River:
    """A policy of river."""

    def __init__(self, policy: Any, arms: int) -> None:  # noqa: ANN401
        self._policy, self._ids = policy, list(range(arms))

    def choose(self, n: int) -> NDArray[np.int64]:
        return np.array([self._policy.pull(self._ids) for _ in range(n)])

    def learn(self, arms: NDArray[np.int64], rewards: Floats) -> None:
        for arm, reward in zip(arms, rewards, strict=True):
            self._policy.update(int(arm), float(reward))


class VowpalWabbit:
    """`--cb_explore` of Vowpal Wabbit, of requests that are all alike."""

    def __init__(self, options: str, arms: int, floor: float, rng: np.random.Generator) -> None:
        module = importlib.import_module("vowpalwabbit")
        self._vw = module.Workspace(f"--cb_explore {arms} {options} --quiet")
        self._rng, self._floor, self._shares = rng, floor, np.full(arms, 1 / arms)

    def choose(self, n: int) -> NDArray[np.int64]:
        shares = np.array(self._vw.predict("| all"))
        part = self._floor * shares.size
        self._shares = self._floor + (1 - part) * shares / shares.sum()
        return self._rng.choice(self._shares.size, n, p=self._shares)

    def learn(self, arms: NDArray[np.int64], rewards: Floats) -> None:
        for arm, reward in zip(arms, rewards, strict=True):
            self._vw.learn(f"{arm + 1}:{-reward}:{self._shares[arm]} | all")


class Floored:
    """A peer that draws uniformly from all arms so often that each has the floor."""

    def __init__(self, peer: Player, floor: float, arms: int, rng: np.random.Generator) -> None:
        self._peer, self._part, self._arms, self._rng = peer, floor * arms, arms, rng
        self.learn = peer.learn

    def choose(self, n: int) -> NDArray[np.int64]:
        forced = self._rng.random(n) < self._part
        return np.where(forced, self._rng.integers(0, self._arms, n), self._peer.choose(n))


Maker = Callable[[np.random.Generator], Player]


def players(problem: Problem) -> Iterator[tuple[str, Maker]]:
    """Name everybody who can play a problem, without a floor and with one."""
    k = len(problem.means(0.0))
    floor = min(0.05, 0.5 / k)
    # 1 - sqrt(changes / requests) / 4 (Garivier, Moulines, arXiv 0805.3415, theorem 2).
    memory = " discount=0.995" if problem.changes else ""
    for name in ("thompson", "ucb1", "epsilon-greedy half-life=500", "softmax"):
        text = f"{name} warm-up=2{memory}"
        yield f"ours: {name}{memory}", lambda rng, text=text: Ours(f"{text} floor=1e-6", k, rng)  # type: ignore[misc]
        said = f"ours: {name}{memory}, floor {floor:g}"
        yield said, lambda rng, text=text: Ours(f"{text} floor={floor}", k, rng)  # type: ignore[misc]
    if memory:
        yield "ours: ucb1 c=1.25", lambda rng: Ours("ucb1 c=1.25 warm-up=2 floor=1e-6", k, rng)
    for name, make in _peers(problem, k):
        yield name, make
        yield f"{name}, floor {floor:g}", lambda rng, make=make: Floored(make(rng), floor, k, rng)  # type: ignore[misc]
    if importlib.util.find_spec("vowpalwabbit"):
        for options in ("--epsilon 0.05", "--squarecb", "--bag 5"):
            for said, least in (("", 0.0), (f", floor {floor:g}", floor)):
                yield (
                    f"VW: {options}{said}",
                    lambda rng, options=options, least=least: VowpalWabbit(options, k, least, rng),  # type: ignore[misc]
                )


def _peers(problem: Problem, k: int) -> Iterator[tuple[str, Maker]]:
    if importlib.util.find_spec("mabwiser"):
        learning = importlib.import_module("mabwiser.mab").LearningPolicy
        policies = {
            "epsilon-greedy 0.1": learning.EpsilonGreedy(0.1),
            "UCB1 1.25": learning.UCB1(1.25),
            "softmax 0.1": learning.Softmax(0.1),
        }
        if problem.binary:
            policies["Thompson"] = learning.ThompsonSampling()
        for name, policy in policies.items():
            yield f"MABWiser: {name}", lambda rng, policy=policy: MabWiser(policy, k, rng)  # type: ignore[misc]
    if importlib.util.find_spec("river"):
        bandit, proba = map(importlib.import_module, ("river.bandit", "river.proba"))

        def seed(rng: np.random.Generator) -> int:
            return int(rng.integers(2**31))

        makers: dict[str, Callable[[np.random.Generator], Any]] = {
            "epsilon-greedy, decay": lambda rng: bandit.EpsilonGreedy(
                0.5, decay=0.001, seed=seed(rng)
            ),
            "UCB, delta 1": lambda rng: bandit.UCB(delta=1.0, seed=seed(rng)),
        }
        if problem.binary:
            makers["Thompson"] = lambda rng: bandit.ThompsonSampling(
                reward_obj=proba.Beta(), seed=seed(rng)
            )
        for name, maker in makers.items():
            yield f"river: {name}", lambda rng, maker=maker: River(maker(rng), k)  # type: ignore[misc]


def regret(problem: Problem, player: Player, rng: np.random.Generator, requests: int) -> float:
    """Play a problem once."""
    lost = 0.0
    for start in range(0, requests, BATCH):
        n = min(BATCH, requests - start)
        arms = player.choose(n)
        means = np.array([problem.means((start + i) / requests) for i in range(n)])
        drawn = means[np.arange(n), arms]
        lost += float((means.max(axis=1) - drawn).sum())
        player.learn(arms, problem.draw(rng, drawn))
    return lost


def lai_robbins(problem: Problem, requests: int) -> float | None:
    """Return the bound for Bernoulli arms that stay."""
    if problem.changes or not problem.binary:
        return None
    means = problem.means(0.0)
    best = max(means)

    def divergence(p: float, q: float) -> float:
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    return sum((best - p) / divergence(p, best) for p in means if p < best) * math.log(requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--problem", default="", help="only those whose name has this text")
    parser.add_argument("--policy", default="", help="only those whose name has this text")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    problems = [problem for problem in PROBLEMS if asked.problem in problem.name]
    for problem in problems:
        bound = lai_robbins(problem, asked.requests)
        for name, make in players(problem):
            if asked.policy.lower() not in name.lower():
                continue
            lost = []
            for run in range(asked.runs):
                rng = np.random.default_rng(
                    [run, PROBLEMS.index(problem), zlib.crc32(name.encode())]
                )
                lost.append(regret(problem, make(rng), rng, asked.requests))
            error = float(np.std(lost, ddof=1) / math.sqrt(len(lost)))
            row = {"problem": problem.name, "policy": name, "regret": float(np.mean(lost)),
                   "standard_error": error, "lai_robbins": bound}  # fmt: skip
            rows.append(row)
            print(
                f"{problem.name:40} {name:45} {row['regret']:8.1f} ± {error:.1f}",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    if asked.json:
        print(json.dumps(rows))
        return
    for problem in problems:
        bound = lai_robbins(problem, asked.requests)
        print(f"\n{problem.name}" + (f" (Lai-Robbins {bound:.0f})" if bound else ""))
        some = [row for row in rows if row["problem"] == problem.name]
        for has_floor in (False, True):
            print("  with a floor" if has_floor else "  without a floor")
            part = [row for row in some if ("floor" in row["policy"]) == has_floor]
            for row in sorted(part, key=lambda row: float(row["regret"])):
                told = f"{row['regret']:8.1f} ± {row['standard_error']:.1f}"
                print(f"    {str(row['policy']).partition(', floor')[0]:45} {told}")


if __name__ == "__main__":
    main()
