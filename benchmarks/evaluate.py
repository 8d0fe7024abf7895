"""How true off-policy estimates are: coverage of their intervals, and the Open Bandit data.

    python benchmarks/evaluate.py [--runs 500] [--json]
    python benchmarks/evaluate.py --open-bandit obp-0.4.1-py3-none-any.whl [--json]

The first draws logs whose truth is known, with seeds, in hard cases: a rare arm, small
propensities, heavy tails, rare conversions, weights that change with the base rate, a policy that
learns on either side. It counts how often each interval holds the truth (95 % is asked for), and
how far estimates are from it. "At every look"
stands for intervals that hold at all looks together, and so are wider than one look needs.

The second replays the small set of the Open Bandit Dataset (Saito et al., arXiv 2008.07146), which
is in the wheel of obp (`pip download obp==0.4.1 --no-deps`): from uniform draws to Bernoulli
Thompson sampling and back, in each of three campaigns. The truth is the mean reward of the other
log. The relative error of each estimator is that of the authors' protocol, |estimate - truth| over
truth, over bootstrap samples of the log. Before that, our estimators are compared with those in the
wheel on drawn decisions; they need no torch, which their module imports.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.evaluation.policy_value import Learner, fixed, follow
from mlops.policies.base import Credit, State
from mlops.policies.making import make_policy
from mlops.stats import off_policy
from mlops.stats.off_policy import Replayed

Floats = NDArray[np.float64]
ALPHA = 0.05


@dataclass(frozen=True)
class Log:
    """Decisions of k arms, and the truth: means of the arms at each, (n, k)."""

    arms: NDArray[np.int64]
    rewards: Floats
    shares: Floats
    means: Floats
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Case:
    """A world, and what is evaluated in it."""

    name: str
    target: str
    draw: Callable[[np.random.Generator], Log]


def _fixed(
    n: int, shares: list[list[float]], means: list[list[float]], reward: str
) -> Callable[[np.random.Generator], Log]:
    """Draw by shares that change in equal parts of the log, with means that do."""

    def draw(rng: np.random.Generator) -> Log:
        part = np.arange(n) * len(shares) // n
        p, mu = np.array(shares)[part], np.array(means)[np.arange(n) * len(means) // n]
        arms = (rng.random((n, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
        return Log(arms, _reward(rng, mu[np.arange(n), arms], reward), p, mu, _bounds(reward))

    return draw


def _learned(n: int, policy: str, mu: list[float], reward: str) -> Callable[..., Log]:
    """Draw by a policy that learns after every 20 rewards."""

    def draw(rng: np.random.Generator) -> Log:
        k = len(mu)
        made, state = make_policy(policy, [1 / k] * k), State(0, ())
        arms, rewards, shares = np.empty(n, dtype=np.int64), np.empty(n), np.empty((n, k))
        step = 20
        for start in range(0, n, step):
            p = np.asarray(made.probabilities({}, state))
            part = slice(start, min(start + step, n))
            size = part.stop - start
            arms[part] = rng.choice(k, size, p=p / p.sum())
            rewards[part] = _reward(rng, np.array(mu)[arms[part]], reward)
            shares[part] = p
            earned = zip(arms[part].tolist(), rewards[part].tolist(), strict=True)
            state = made.update(state, [Credit(a, p[a], r) for a, r in earned])
            step = max(20, start // 50)
        return Log(arms, rewards, shares, np.tile(mu, (n, 1)), _bounds(reward))

    return draw


def _reward(rng: np.random.Generator, mean: Floats, kind: str) -> Floats:
    if kind == "binary":
        return (rng.random(mean.size) < mean).astype(np.float64)
    if kind == "heavy":
        return mean + rng.standard_t(3, mean.size)
    if kind == "revenue":
        bought = rng.random(mean.size) < 0.05
        return bought * mean * rng.lognormal(-0.5, 1, mean.size) / 0.05
    return mean + rng.standard_normal(mean.size)


def _bounds(kind: str) -> tuple[float, float] | None:
    return (0.0, 1.0) if kind == "binary" else None


HALF = [[0.5, 0.5]]
CASES = (
    Case("equal shares", "a=0.2,b=0.8", _fixed(1000, HALF, [[0.3, 0.4]], "binary")),
    Case("rare arm, 5 %", "a=0.2,b=0.8", _fixed(4000, [[0.95, 0.05]], [[0.3, 0.4]], "binary")),
    Case("propensity 1 %", "a=0.5,b=0.5", _fixed(40_000, [[0.99, 0.01]], [[1, 2]], "normal")),
    Case("conversions 1 %", "a=0.3,b=0.7", _fixed(10_000, HALF, [[0.010, 0.012]], "binary")),
    Case("heavy tails (t, 3 df)", "a=0.2,b=0.8", _fixed(2000, HALF, [[0, 0.2]], "heavy")),
    Case("revenue, 95 % zeros", "a=0.2,b=0.8", _fixed(10_000, HALF, [[1.0, 1.1]], "revenue")),
    Case(
        "weights move with the base rate", "a=0.5,b=0.5",
        _fixed(8000, [[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.25], [0.5, 0.55]], "binary"),
    ),
    Case("ten arms, one wanted", "a=1",
         _fixed(8000, [[0.1] * 10], [[0.1] * 9 + [0.3]], "binary")),
    Case("logged by ucb1, unequal", "a=0.5,b=0.5",
         _learned(4000, "ucb1 floor=0.05", [0.3, 0.4], "binary")),
    Case("logged by ucb1, equal", "a=0.5,b=0.5",
         _learned(4000, "ucb1 floor=0.05", [0.3, 0.3], "binary")),
    Case("softmax on equal shares", "softmax floor=0.05",
         _fixed(4000, HALF, [[0.3, 0.4]], "binary")),
    Case("epsilon-greedy on ucb1", "epsilon-greedy",
         _learned(6000, "ucb1 floor=0.05", [0.3, 0.4], "binary")),
    Case("thompson on thompson", "thompson floor=0.1",
         _learned(4000, "thompson floor=0.05", [0.3, 0.4], "binary")),
)  # fmt: skip


def evidence_of(log: Log) -> Any:  # noqa: ANN401 - stands for what a journal gives
    """Make what `follow` reads of a log."""
    n, k = log.shares.shape
    arms = [SimpleNamespace(name=chr(97 + i), weight=1 / k) for i in range(k)]
    return SimpleNamespace(
        arms=log.arms, rewards=log.rewards, weights=log.shares, strata=np.arange(n),
        propensities=log.shares[np.arange(n), log.arms], bounds=log.bounds,
        spec=SimpleNamespace(name="log", arms=arms),
    )  # fmt: skip


def weights_in(target: str, k: int) -> list[float] | None:
    """Read fixed weights of arms a, b, ...; None for a policy."""
    if "=" not in target.split(maxsplit=1)[0]:
        return None
    given = dict(word.split("=") for word in target.split(","))
    return [float(given.get(chr(97 + at), 0)) for at in range(k)]


def seen_by(target: str, log: Log) -> Replayed:
    """Follow a target through a log."""
    k = log.shares.shape[1]
    weights = weights_in(target, k)
    if weights is not None:
        return follow(evidence_of(log), fixed(weights)).seen
    evidence = evidence_of(log)
    return follow(evidence, Learner(make_policy(target, [1 / k] * k), evidence)).seen


def truth_of(target: str, log: Log, seen: Replayed) -> float:
    """Mean reward of the target under the true means."""
    weights = weights_in(target, log.means.shape[1])
    if weights is not None:
        return float((log.means @ np.array(weights)).mean())
    # The means do not move in these cases.
    return float(seen.drawn @ log.means[0]) / float(seen.importance.sum())


def coverage(case: Case, runs: int) -> Iterator[dict[str, Any]]:
    """Count how often intervals hold the truth."""
    hits: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    sizes, none = [], 0
    for run in range(runs):
        rng = np.random.default_rng([run, len(case.name)])
        log = case.draw(rng)
        seen = seen_by(case.target, log)
        truth = truth_of(case.target, log, seen)
        found = {each.estimator: each for each in off_policy.estimate(seen, ALPHA)}
        found["DR, at every look"] = off_policy.at_every_look(seen, ALPHA)
        if log.bounds:
            found["DR, exact"] = off_policy.dr_bounded(seen, log.bounds, ALPHA)
        sizes.append(off_policy.weights_of(seen).effective)
        none += not math.isfinite(found["IPS"].lower)
        for name, each in found.items():
            if not math.isfinite(each.lower):
                continue
            held = each.lower <= truth <= each.upper
            hits.setdefault(name, []).append(held)
            errors.setdefault(name, []).append(each.value - truth)
    for name, those in hits.items():
        rms = float(np.sqrt(np.mean(np.square(errors[name]))))
        yield {"case": case.name, "estimator": name, "coverage": float(np.mean(those)),
               "runs": len(those), "rms_error": rms, "bias": float(np.mean(errors[name])),
               "effective": float(np.median(sizes)), "without_interval": none}  # fmt: skip


def open_bandit(wheel: str, boots: int = 100) -> Iterator[dict[str, Any]]:
    """Replay the Open Bandit data."""
    for campaign in ("all", "men", "women"):
        logs = {policy: _read(wheel, policy, campaign) for policy in ("random", "bts")}
        table = {name: _distribution(log) for name, log in logs.items()}
        for source, target in (("random", "bts"), ("bts", "random")):
            log, truth = logs[source], float(logs[target].rewards.mean())
            pi = table[target]
            rng = np.random.default_rng(12345)
            errors: dict[str, list[float]] = {}
            seen = _replayed(log, pi, np.arange(log.rewards.size))
            whole = {each.estimator: each for each in off_policy.estimate(seen, ALPHA)}
            for _ in range(boots):
                rows = np.sort(rng.integers(0, log.rewards.size, log.rewards.size))
                for each in off_policy.estimate(_replayed(log, pi, rows), ALPHA):
                    errors.setdefault(each.estimator, []).append(abs(each.value / truth - 1))
            for name, values in errors.items():
                one = whole[name]
                yield {"campaign": campaign, "from": source, "to": target, "truth": truth,
                       "estimator": name, "relative_error": float(np.mean(values)),
                       "spread": float(np.std(values)), "estimate": one.value,
                       "lower": one.lower, "upper": one.upper, "tuning": one.tuning,
                       "effective": off_policy.effective_size(seen.weights)}  # fmt: skip


@dataclass(frozen=True)
class Clicks:
    """One campaign of the Open Bandit data under one policy."""

    items: NDArray[np.int64]
    positions: NDArray[np.int64]
    rewards: Floats
    propensities: Floats


def _read(wheel: str, policy: str, campaign: str) -> Clicks:
    with zipfile.ZipFile(wheel) as file:
        text = file.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv").decode()
    rows = sorted(csv.DictReader(io.StringIO(text)), key=lambda row: row["timestamp"])
    return Clicks(
        np.array([int(row["item_id"]) for row in rows]),
        np.array([int(row["position"]) - 1 for row in rows]),
        np.array([float(row["click"]) for row in rows]),
        np.array([float(row["propensity_score"]) for row in rows]),
    )


def _distribution(log: Clicks) -> Floats:
    """Probability of each item at each position, from the logged propensities, (items, 3).

    Propensities of a pair that the log never shows are unknown and count as the smallest.
    """
    k = int(log.items.max()) + 1
    found = np.full((k, 3), np.nan)
    found[log.items, log.positions] = log.propensities
    for at in range(3):
        column = found[:, at]
        missing = np.isnan(column)
        left = max(1 - float(np.nansum(column)), 0.0)
        column[missing] = left / max(int(missing.sum()), 1)
        column /= column.sum()
    return found


def _replayed(log: Clicks, pi: Floats, rows: NDArray[np.int64]) -> Replayed:
    """Weigh a log for another policy; items at positions are what the means are of."""
    items, at = log.items[rows], log.positions[rows]
    rewards, p = log.rewards[rows], log.propensities[rows]
    k = pi.shape[0]
    inside = items < k
    w = np.where(inside, pi[np.minimum(items, k - 1), at], 0.0) / p
    n = rewards.size
    known = off_policy.RunningMeans(k).take(items, rewards)
    expected = (known * pi[:, at].T).sum(axis=1)
    drawn = np.bincount(at, minlength=3) @ pi.T
    return Replayed(
        items, rewards, w, known[np.arange(n), items], expected, np.ones(n),
        np.full(n, float(w.max())), drawn,
    )  # fmt: skip


def against_obp(wheel: str, n: int = 3000, k: int = 4) -> float:
    """Return the largest difference of our estimators to those of obp, for the same guesses."""
    torch, sys.modules["torch"] = sys.modules.get("torch"), SimpleNamespace(Tensor=object)  # type: ignore[assignment]
    for name in ("obp", "obp.ope"):
        package = ModuleType(name)
        package.__path__ = [f"{wheel}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    peer = importlib.import_module("obp.ope.estimators")
    if torch is None:
        del sys.modules["torch"]
    rng, rows = np.random.default_rng(3), np.arange(n)
    p = 0.8 * rng.dirichlet(np.full(k, 2.0), n) + 0.2 / k
    arms = (rng.random((n, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
    rewards = (rng.random(n) < 0.1 + 0.1 * arms).astype(np.float64)
    pi = np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum()
    w = pi[arms] / p[rows, arms]
    known = off_policy.RunningMeans(k).take(arms, rewards)
    means = np.array([rewards[arms == arm].mean() for arm in range(k)])
    seen = Replayed(
        arms, rewards, w, known[rows, arms], known @ pi, np.ones(n), (pi / p).max(axis=1), n * pi
    )
    told: dict[str, Any] = {
        "reward": rewards, "action": arms, "position": np.zeros(n, dtype=int),
        "pscore": p[rows, arms], "action_dist": np.tile(pi, (n, 1))[:, :, None],
    }  # fmt: skip
    ours = {each.estimator: each.value for each in off_policy.estimate(seen, ALPHA)}
    guessed, fixed_means = known[:, :, None], np.tile(means, (n, 1))[:, :, None]
    theirs = {
        "IPS": peer.InverseProbabilityWeighting().estimate_policy_value(**told),
        "SNIPS": peer.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**told),
        "DR": peer.DoublyRobust().estimate_policy_value(
            **told, estimated_rewards_by_reg_model=guessed
        ),
    }
    apart = [abs(ours[name] - value) for name, value in theirs.items()]
    for value in (0.3, 1.0, 10.0):
        for used, made in (
            (off_policy.switch(w, value), peer.SwitchDoublyRobust(tau=value)),
            (off_policy.shrink(w, value), peer.DoublyRobustWithShrinkage(lambda_=value)),
        ):
            own = off_policy.doubly_robust(seen, used, "", ALPHA)[0].value
            its = made.estimate_policy_value(**told, estimated_rewards_by_reg_model=fixed_means)
            apart.append(abs(own - its))
    return float(max(apart))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--case", default="")
    parser.add_argument("--open-bandit", metavar="WHEEL", default="")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if asked.open_bandit:
        apart = against_obp(asked.open_bandit)
        print(f"largest difference to obp's estimators: {apart:.1e}", file=sys.stderr, flush=True)
        for row in open_bandit(asked.open_bandit):
            rows.append(row)
            if not asked.json:
                print(
                    f"{row['campaign']:6} {row['from']:>6} to {row['to']:6} {row['estimator']:10}"
                    f" relative error {row['relative_error']:.3f} ± {row['spread']:.3f}"
                    f"  estimate {row['estimate']:.5f} [{row['lower']:.5f}, {row['upper']:.5f}]"
                    f"  truth {row['truth']:.5f}  effective {row['effective']:,.0f}",
                    flush=True,
                )  # fmt: skip
    else:
        for case in CASES:
            if asked.case not in case.name:
                continue
            for row in coverage(case, asked.runs):
                rows.append(row)
                if not asked.json:
                    error = 1.96 * math.sqrt(row["coverage"] * (1 - row["coverage"]) / row["runs"])
                    print(
                        f"{row['case']:32} {row['estimator']:18} {100 * row['coverage']:5.1f} % "
                        f"± {100 * error:.1f}  rms {row['rms_error']:.4f}  bias "
                        f"{row['bias']:+.4f}  effective {row['effective']:,.0f}"
                        f"  none {row['without_interval']}",
                        flush=True,
                    )  # fmt: skip
    if asked.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
