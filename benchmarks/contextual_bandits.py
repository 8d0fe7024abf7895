"""What looking at the request brings: regret of linear policies and of peers' on three worlds.

    python benchmarks/contextual_bandits.py [--runs 20] [--requests 10000] [--world TEXT]
        [--policy TEXT] [--json]
    python benchmarks/contextual_bandits.py --cost          microseconds a request

Regret is the sum, over the requests, of what the best arm was expected to earn from each, minus
that of the arm drawn. All learn after every 20 requests. Peers take part where they are installed
(`pip install mabwiser river vowpalwabbit`). None of them keeps a floor under every arm, so all play
twice: without one (ours with a floor of one millionth), and with the default of 0.05, for which a
peer draws uniformly from all arms that often. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlops.policies.base import Contextual, Credit, State
from mlops.policies.drawing import VECTORS, draws_of
from mlops.policies.making import make_policy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BATCH, FEATURES, FLOOR = 20, 5, 0.05
NAMES = [f"x{at}" for at in range(FEATURES)]


@dataclass(frozen=True)
class World:
    """What k arms earn from a request, of FEATURES standard normal numbers.

    Attributes:
        name: What it is.
        arms: k.
        means: From slopes (k, FEATURES + 1) and (n, FEATURES + 1) numbers with 1 before them.
        draw: Rewards around means.
    """

    name: str
    arms: int
    means: Callable[[Floats, Floats], Floats]
    draw: Callable[[np.random.Generator, Floats], Floats]


def _linear(slopes: Floats, x: Floats) -> Floats:
    return x @ slopes.T


def _logistic(slopes: Floats, x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(2 - x @ slopes.T)))


def _normal(rng: np.random.Generator, means: Floats) -> Floats:
    return means + rng.standard_normal(means.shape)


def _bernoulli(rng: np.random.Generator, means: Floats) -> Floats:
    return (rng.random(means.shape) < means).astype(np.float64)


WORLDS = (
    World("linear, sd 1, two arms", 2, _linear, _normal),
    World("linear, sd 1, five arms", 5, _linear, _normal),
    World("clicks (logistic), three arms", 3, _logistic, _bernoulli),
)


class Player(Protocol):
    """Draws arms for requests (n, FEATURES), and learns of them."""

    def choose(self, x: Floats) -> Ints: ...

    def learn(self, x: Floats, arms: Ints, rewards: Floats) -> None: ...


class Ours:
    """One of our policies."""

    def __init__(self, text: str, arms: int, rng: np.random.Generator) -> None:
        self._policy, self._rng = make_policy(text, [1 / arms] * arms), rng
        self._state = State(0, (1 / arms,) * arms)
        self._propensities: list[float] = []

    def choose(self, x: Floats) -> Ints:
        parameters = {**self._state.parameters, VECTORS: 1}
        state = State(self._state.epoch, self._state.probabilities, parameters)
        draws = draws_of(self._policy, state if self._state.parameters else self._state)
        chosen = [draws.of(_named(row)).choose(self._rng.random()) for row in x]
        self._propensities = [choice.propensity for choice in chosen]
        return np.array([choice.arm for choice in chosen])

    def learn(self, x: Floats, arms: Ints, rewards: Floats) -> None:
        rows = zip(arms.tolist(), self._propensities, rewards.tolist(), x, strict=True)
        earned = [Credit(arm, p, reward, _named(row)) for arm, p, reward, row in rows]
        self._state = self._policy.update(self._state, earned)


class MabWiser:
    """A policy of MABWiser (Fidelity)."""

    def __init__(self, policy: Any, arms: int, rng: np.random.Generator) -> None:  # noqa: ANN401
        module = importlib.import_module("mabwiser.mab")
        self._mab = module.MAB(list(range(arms)), policy, seed=int(rng.integers(2**31)))
        self._begun, self._arms, self._rng = False, arms, rng

    def choose(self, x: Floats) -> Ints:
        if not self._begun:
            return self._rng.integers(0, self._arms, len(x))
        return np.array(self._mab.predict(_with_one(x)))

    def learn(self, x: Floats, arms: Ints, rewards: Floats) -> None:
        fit = self._mab.partial_fit if self._begun else self._mab.fit
        fit(decisions=arms, rewards=rewards, contexts=_with_one(x))
        self._begun = True


class River:
    """LinUCB of river."""

    def __init__(self, arms: int, rng: np.random.Generator) -> None:
        bandit = importlib.import_module("river.bandit")
        self._policy = bandit.LinUCBDisjoint(alpha=1.0, seed=int(rng.integers(2**31)))
        self._ids = list(range(arms))

    def choose(self, x: Floats) -> Ints:
        return np.array([self._policy.pull(self._ids, context=_named(row, 1.0)) for row in x])

    def learn(self, x: Floats, arms: Ints, rewards: Floats) -> None:
        for row, arm, reward in zip(x, arms.tolist(), rewards.tolist(), strict=True):
            self._policy.update(arm, _named(row, 1.0), reward)


class VowpalWabbit:
    """`--cb_explore` of Vowpal Wabbit."""

    def __init__(self, options: str, arms: int, floor: float, rng: np.random.Generator) -> None:
        module = importlib.import_module("vowpalwabbit")
        self._vw = module.Workspace(f"--cb_explore {arms} {options} --quiet")
        self._rng, self._floor, self._chosen = rng, floor, [1.0]

    def choose(self, x: Floats) -> Ints:
        arms, self._chosen = [], []
        for row in x:
            shares = np.array(self._vw.predict(f"| {_text(row)}"))
            part = self._floor * shares.size
            shares = self._floor + (1 - part) * shares / shares.sum()
            arm = int(self._rng.choice(shares.size, p=shares / shares.sum()))
            arms.append(arm)
            self._chosen.append(float(shares[arm]))
        return np.array(arms)

    def learn(self, x: Floats, arms: Ints, rewards: Floats) -> None:
        seen = zip(x, arms.tolist(), rewards.tolist(), self._chosen, strict=True)
        for row, arm, reward, p in seen:
            self._vw.learn(f"{arm + 1}:{-reward}:{p} | {_text(row)}")


class Floored:
    """A peer that draws uniformly from all arms so often that each has the floor."""

    def __init__(self, peer: Player, floor: float, arms: int, rng: np.random.Generator) -> None:
        self._peer, self._part, self._arms, self._rng = peer, floor * arms, arms, rng
        self.learn = peer.learn

    def choose(self, x: Floats) -> Ints:
        forced = self._rng.random(len(x)) < self._part
        return np.where(forced, self._rng.integers(0, self._arms, len(x)), self._peer.choose(x))


def _named(row: Floats, *one: float) -> dict[str, float]:
    # With a 1 for peers whose models have no intercept.
    return dict(zip([*NAMES, "one"], [*row.tolist(), *one], strict=False))


def _with_one(x: Floats) -> Floats:
    return np.column_stack([np.ones(len(x)), x])


def _text(row: Floats) -> str:
    return " ".join(f"{name}:{value}" for name, value in zip(NAMES, row, strict=True))


Maker = Callable[[np.random.Generator], Player]


def players(world: World) -> Iterator[tuple[str, float, Maker]]:
    """Name everybody who can play in a world, without a floor and with one."""
    k, features = world.arms, f"features={','.join(NAMES)}"
    for floor in (0.0, FLOOR):
        for name in ("linear-ucb", "linear-greedy", "linear-thompson"):
            text = f"{name} {features} warm-up=2 floor={floor or 1e-6}"
            yield f"ours: {name}", floor, lambda rng, text=text: Ours(text, k, rng)  # type: ignore[misc]
        if not floor:
            yield (
                "ours: thompson (looks at nothing)",
                floor,
                lambda rng: Ours("thompson floor=1e-6", k, rng),
            )
        for name, make in _peers(k):
            if floor:
                yield name, floor, lambda rng, make=make: Floored(make(rng), FLOOR, k, rng)  # type: ignore[misc]
            else:
                yield name, floor, make
        if importlib.util.find_spec("vowpalwabbit"):
            for options in ("--epsilon 0.05", "--squarecb", "--bag 5"):
                yield (
                    f"VW: {options}",
                    floor,
                    lambda rng, options=options, floor=floor: VowpalWabbit(options, k, floor, rng),  # type: ignore[misc]
                )


def _peers(k: int) -> Iterator[tuple[str, Maker]]:
    if importlib.util.find_spec("mabwiser"):
        learning = importlib.import_module("mabwiser.mab").LearningPolicy
        for name, policy in {
            "LinTS, alpha 1": learning.LinTS(alpha=1.0),
            "LinTS, alpha 0.5": learning.LinTS(alpha=0.5),
            "LinUCB, alpha 1": learning.LinUCB(alpha=1.0),
            "LinGreedy, epsilon 0.05": learning.LinGreedy(epsilon=0.05),
        }.items():
            yield f"MABWiser: {name}", lambda rng, policy=policy: MabWiser(policy, k, rng)  # type: ignore[misc]
    if importlib.util.find_spec("river"):
        yield "river: LinUCB, alpha 1", lambda rng: River(k, rng)


def regret(world: World, player: Player, seed: int, requests: int) -> float:
    """Play in a world once; its requests are the same for all."""
    rng = np.random.default_rng([seed, zlib.crc32(world.name.encode())])
    slopes = rng.normal(scale=0.5, size=(world.arms, FEATURES + 1))
    lost = 0.0
    for start in range(0, requests, BATCH):
        x = rng.standard_normal((min(BATCH, requests - start), FEATURES))
        means = world.means(slopes, _with_one(x))
        arms = player.choose(x)
        drawn = means[np.arange(len(x)), arms]
        lost += float((means.max(axis=1) - drawn).sum())
        player.learn(x, arms, world.draw(rng, drawn))
    return lost


def cost() -> None:
    """Print what choosing an arm costs a request, in process time."""
    rng = np.random.default_rng(1)
    for name in ("weighted", "thompson", "linear-greedy", "linear-ucb", "linear-thompson"):
        for arms in (2, 3, 5):
            linear = name.startswith("linear")
            text = f"{name} features={','.join(NAMES)}" if linear else name
            policy = make_policy(text, [1 / arms] * arms)
            earned = [
                Credit(at % arms, 1 / arms, float(rng.normal()), _named(rng.normal(size=FEATURES)))
                for at in range(500)
            ]
            state = policy.update(State(0, (1 / arms,) * arms), earned)
            if isinstance(policy, Contextual):
                state = State(1, state.probabilities, {**state.parameters, VECTORS: 1})
            draws, context = draws_of(policy, state), _named(rng.normal(size=FEATURES))
            best = math.inf
            for _ in range(5):
                begun = time.process_time()
                for _ in range(5_000):
                    (draws.of(context) if draws.features else draws).choose(0.3)
                best = min(best, (time.process_time() - begun) / 5_000 * 1e6)
            print(f"{name:16} {arms} arms {best:8.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--world", default="", help="only those whose name has this text")
    parser.add_argument("--policy", default="", help="only those whose name has this text")
    parser.add_argument("--cost", action="store_true", help="what choosing an arm costs instead")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.cost:
        cost()
        return
    rows = []
    for world in (world for world in WORLDS if asked.world in world.name):
        found = []
        for name, floor, make in players(world):
            if asked.policy.lower() not in name.lower():
                continue
            begun = time.process_time()
            lost = [
                regret(world, make(np.random.default_rng([run, 7])), run, asked.requests)
                for run in range(asked.runs)
            ]
            row = {
                "world": world.name,
                "policy": name,
                "floor": floor,
                "regret": float(np.mean(lost)),
                "standard_error": float(np.std(lost, ddof=1) / math.sqrt(len(lost))),
                "us_per_request": (time.process_time() - begun) / asked.runs / asked.requests * 1e6,
            }
            found.append(row)
            print(
                f"{world.name:32} {name:36} {floor:4g} {row['regret']:8.1f}",
                file=sys.stderr,
                flush=True,
            )
        rows += found
        if not asked.json:
            for floor in (0.0, FLOOR):
                print(f"\n{world.name}, floor {floor:g}")
                part = [row for row in found if row["floor"] == floor]
                for row in sorted(part, key=lambda row: float(row["regret"])):
                    told = f"{row['regret']:8.1f} ± {row['standard_error']:.1f}"
                    print(f"  {row['policy']:36} {told} {row['us_per_request']:8.0f} us")
    if asked.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
