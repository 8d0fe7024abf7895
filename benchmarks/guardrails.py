"""How often a ramp takes back a canary that is no worse, and how soon it finds one that is.

    python benchmarks/guardrails.py [--runs 400] [--json]

A ramp of 5, 25 and 50 per cent, half an hour each, 200 requests a minute, with the guardrails
`errors` and `latency_p95_ms`, watched at every request (sticky units: every 5 minutes), by the
e-values of `mlops.monitoring.ramp`. Beside it, on the same streams, the published rules of two
others:

Flagger   each minute the canary's success rate must be at least 99 per cent and its p99 at most 500
          ms over that minute; the fifth failed check rolls back (docs.flagger.app, the values of
          its own example).
Kayenta   every ten minutes a Mann-Whitney test per metric on all minutes so far, of the canary
          against as many requests of the baseline; a metric has failed if the 98 % interval of the
          shift lies above a quarter of its estimate (NetflixACAJudge), and one that has rolls back.

Seeds are fixed: equal arguments, equal figures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mlops.stats.one_sided import Losses, beyond, count, evidence_path, log_evidence, thresholds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STEPS = np.array([0.05, 0.25, 0.5])
STEP_MIN, PER_MIN, ALPHA = 30, 200, 0.05
MINUTES = STEP_MIN * STEPS.size
# Sticky units are folded anew at each look.
LOOK_MIN = 5
_WEIGHTS = np.stack([1 - STEPS, STEPS], axis=1)
_BASE_MS = 40.0


@dataclass(frozen=True)
class Stream:
    """Requests in order: minute, step, whether the canary answered, error, latency, sticky unit."""

    minutes: Ints
    steps: Ints
    canary: NDArray[np.bool_]
    errors: Floats
    latency_ms: Floats
    units: Ints | None = None


@dataclass(frozen=True)
class Case:
    """A world; of its canary how many times the errors, the latency, and from which step on."""

    name: str
    error_rate: float = 0.01
    sigma: float = 0.5
    season: bool = False
    users: int = 0
    more_errors: float = 1.0
    slower: float = 1.0
    from_step: int = 0

    @property
    def is_equal(self) -> bool:
        return self.more_errors == 1 and self.slower == 1


CASES = (
    Case("plain, 1 % errors"),
    Case("rare errors, 0.1 %", error_rate=0.001),
    Case("heavy-tailed latency (lognormal, sigma 2)", sigma=2.0),
    Case("season: errors and latency up to threefold", season=True),
    Case("sticky users of very different levels", users=3_000),
    Case("5 % errors in place of 1 %", more_errors=5.0),
    Case("2 % errors in place of 1 %", more_errors=2.0),
    Case("2 % errors in place of 0.1 %", error_rate=0.001, more_errors=20.0),
    Case("half as slow again", slower=1.5),
    Case("half as slow again, sigma 2", slower=1.5, sigma=2.0),
    Case("5 % errors from 25 % on", more_errors=5.0, from_step=1),
)


def draw(case: Case, rng: np.random.Generator) -> Stream:
    """Draw the requests of a whole ramp."""
    n = MINUTES * PER_MIN
    minutes = np.arange(n) // PER_MIN
    steps = minutes // STEP_MIN
    level = np.ones(n)
    if case.season:
        level = 2 + np.cos(2 * np.pi * minutes / MINUTES * 1.5)
    units = None
    if case.users:
        units = rng.integers(0, case.users, n)
        level = rng.gamma(0.3, 1 / 0.3, case.users)[units]
        _, first, back = np.unique(units, return_index=True, return_inverse=True)
        # A unit that came before keeps the arm of its first request.
        canary = (rng.random(first.size) < STEPS[steps[first]])[back]
    else:
        canary = rng.random(n) < STEPS[steps]
    bad = canary & (steps >= case.from_step)
    rate = np.minimum(case.error_rate * level * np.where(bad, case.more_errors, 1.0), 1.0)
    errors = (rng.random(n) < rate).astype(np.float64)
    slow = np.where(bad, case.slower, 1.0) * np.sqrt(level)
    latency = _BASE_MS * slow * rng.lognormal(0.0, case.sigma, n)
    return Stream(minutes, steps, canary, errors, latency, units)


def ours(stream: Stream) -> float:
    """Minute of the rollback by the rule of `mlops.monitoring.ramp`; inf for none."""
    return _by_units(stream) if stream.units is not None else _by_requests(stream)


def _by_requests(stream: Stream) -> float:
    tau = thresholds(stream.latency_ms, ~stream.canary, 0.95)
    slow = np.nan_to_num(beyond(stream.latency_ms, tau, stream.canary))
    total = np.zeros(stream.steps.size)
    for lost in (stream.errors, slow):
        for step in range(STEPS.size):
            # Only losses move the evidence that an arm is worse.
            at = np.flatnonzero((stream.steps >= step) & (lost > 0))
            share = STEPS[stream.steps[at]]
            losses = Losses(
                lost[at], stream.canary[at], np.stack([share, 1 - share]), np.ones_like(at)
            )
            path = np.exp(np.minimum(evidence_path(losses, "worse"), 600.0))
            gains = np.zeros(stream.steps.size)
            gains[at] = np.diff(path, prepend=1.0)
            total += (1 + np.cumsum(gains)) / (2 * STEPS.size)
    hit = np.flatnonzero(total >= 1 / ALPHA)
    return float(stream.minutes[hit[0]]) if hit.size else math.inf


def _by_units(stream: Stream) -> float:
    """A unit counts in the step it met first, failed from its first failure on, by mean latency."""
    assert stream.units is not None
    for minute in range(LOOK_MIN - 1, MINUTES, LOOK_MIN):
        upto = int(np.searchsorted(stream.minutes, minute, side="right"))
        total = sum(_unit_evidence(stream, upto)) / (2 * STEPS.size)
        if total >= 1 / ALPHA:
            return float(minute)
    return math.inf


def _unit_evidence(stream: Stream, upto: int) -> Iterator[float]:
    assert stream.units is not None
    _, first, unit = np.unique(stream.units[:upto], return_index=True, return_inverse=True)
    own = stream.steps[:upto] == stream.steps[first][unit]
    counts = np.bincount(unit[own], minlength=first.size)
    failed, latency = (
        np.bincount(unit[own], weights=values[:upto][own], minlength=first.size)
        for values in (stream.errors, stream.latency_ms)
    )
    order = np.argsort(first)
    canary, steps = stream.canary[first][order], stream.steps[first][order]
    mean = (latency / counts)[order]
    tau = thresholds(mean, ~canary, 0.95)
    losses = ((failed > 0).astype(np.float64)[order], beyond(mean, tau, canary))
    for lost in losses:
        for step in range(STEPS.size):
            here = np.where(steps >= step, lost, np.nan)
            found = count(here, canary.astype(np.int64), steps, _WEIGHTS, (1, 0))
            yield math.exp(min(log_evidence(found, "worse"), 600.0))


def flagger(stream: Stream) -> float:
    """Minute of the rollback by fixed thresholds; inf for none."""
    failed = 0
    for minute, (_, canary) in enumerate(_per_minute(stream)):
        if not canary.any():
            continue
        success = 1 - stream.errors[canary].mean()
        slow = np.quantile(stream.latency_ms[canary], 0.99) > 500
        failed += bool(success < 0.99 or slow)
        if failed >= 5:
            return float(minute)
    return math.inf


def kayenta(stream: Stream, rng: np.random.Generator) -> float:
    """Minute of the rollback by Mann-Whitney tests; inf for none."""
    series: list[tuple[float, float, float, float]] = []
    for minute, (base, canary) in enumerate(_per_minute(stream)):
        if canary.size and base.size >= canary.size:
            like = rng.choice(base, canary.size, replace=False)
            series.append(
                (
                    float(stream.errors[canary].mean()), float(stream.errors[like].mean()),
                    float(np.quantile(stream.latency_ms[canary], 0.95)),
                    float(np.quantile(stream.latency_ms[like], 0.95)),
                )
            )  # fmt: skip
        if minute % 10 == 9 and len(series) > 3:
            found = np.array(series)
            if _is_high(found[:, 0], found[:, 1]) or _is_high(found[:, 2], found[:, 3]):
                return float(minute)
    return math.inf


def _is_high(canary: Floats, baseline: Floats) -> bool:
    """The interval of R's `wilcox.test(conf.level = 0.98)`, by its normal approximation."""
    shifts = np.sort((canary[:, None] - baseline[None, :]).ravel())
    m, n = canary.size, baseline.size
    rank = math.floor(m * n / 2 - norm.ppf(0.99) * math.sqrt(m * n * (m + n + 1) / 12))
    lower = shifts[max(rank, 0)]
    return bool(lower > 0.25 * abs(float(np.median(shifts))) and lower > 0)


def _per_minute(stream: Stream) -> Iterator[tuple[Ints, Ints]]:
    for minute in range(MINUTES):
        at = np.arange(minute * PER_MIN, (minute + 1) * PER_MIN)
        yield at[~stream.canary[at]], at[stream.canary[at]]


def simulate(case: Case, runs: int) -> dict[str, list[float]]:
    """Minutes of the rollbacks by each rule, on the same streams."""
    found: dict[str, list[float]] = {"mlops": [], "Flagger": [], "Kayenta": []}
    for seed in range(runs):
        rng = np.random.default_rng([seed, CASES.index(case)])
        stream = draw(case, rng)
        rules: dict[str, Callable[[], float]] = {
            "mlops": lambda: ours(stream),  # noqa: B023 - called here
            "Flagger": lambda: flagger(stream),  # noqa: B023
            "Kayenta": lambda: kayenta(stream, rng),  # noqa: B023
        }
        for name, rule in rules.items():
            found[name].append(rule())
    return found


def wilson(hits: int, runs: int) -> tuple[float, float]:
    """95 % interval of a share, per cent."""
    z, p = 1.96, hits / runs
    middle, root = p + z**2 / (2 * runs), z * math.sqrt(p * (1 - p) / runs + z**2 / (4 * runs**2))
    low, high = ((middle + sign * root) / (1 + z**2 / runs) for sign in (-1, 1))
    return 100 * low, 100 * high


def _cell(case: Case, minutes: list[float]) -> str:
    runs, hits = len(minutes), sum(map(math.isfinite, minutes))
    if case.is_equal:
        low, high = wilson(hits, runs)
        return f"{100 * hits / runs:.1f} % [{max(low, 0):.1f}, {high:.1f}]"
    # A fault that begins later cannot be found before.
    begin = case.from_step * STEP_MIN
    early = sum(each < begin for each in minutes)
    late = sorted(each - begin + 1 for each in minutes if each >= begin)
    median = late[len(late) // 2] if late else math.inf
    delay = f"{median:.0f} min" if math.isfinite(median) else "not in half of the runs"
    return f"{delay}, {100 * (hits - early) / runs:.0f} %" + (f" ({early} early)" * bool(early))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--json", action="store_true", help="print minutes of rollbacks")
    asked = parser.parse_args()
    results = {}
    head = f"| {{}} ({asked.runs} runs) | mlops | Flagger | Kayenta |\n|---|---|---|---|"
    for equal, title in ((True, "rolled back, equal arms"), (False, "median delay, found")):
        if not asked.json:
            print(head.format(title), flush=True)
        for case in (each for each in CASES if each.is_equal == equal):
            found = results[case.name] = simulate(case, asked.runs)
            if not asked.json:
                cells = " | ".join(_cell(case, minutes) for minutes in found.values())
                print(f"| {case.name} | {cells} |", flush=True)
        if not asked.json:
            print()
    if asked.json:
        json.dump(_known(results), sys.stdout)
    return 0


def _known(results: dict[str, dict[str, list[float]]]) -> object:
    """JSON has no infinity."""
    return {
        name: {
            rule: [each if math.isfinite(each) else None for each in minutes]
            for rule, minutes in found.items()
        }
        for name, found in results.items()
    }


if __name__ == "__main__":
    sys.exit(main())
