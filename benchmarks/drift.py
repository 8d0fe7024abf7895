"""Alarms about drift, false and true: ours and those of peers on the same streams.

    python benchmarks/drift.py [--deployments 100] [--days 90] [--rows 200] [--json]
    python benchmarks/drift.py --deployments 1000 --journal-rows 10000000     all published figures
    python benchmarks/drift.py --deployments 0 --journal-rows 10000000        those of the journal

A deployment has 30 features (normal, skewed, heavy-tailed, counts, categories, half missing) and a
training table of 2,000 rows from where the traffic comes from. First nothing drifts, and every
alarm is false; then one feature of 30 changes after 30 days, and its alarm is late or never; and
then a correlation between two, of which no feature alone can tell.

Peers take part where they are installed, in an environment of their own (`pip install river
evidently "pandas<3" "plotly<6"`): river's ADWIN and KSWIN with their defaults on each feature, and
Evidently's defaults on each day: a column by Kolmogorov-Smirnov's test at 5 % against the training
data. That test is asked of SciPy; the first day's p-values are Evidently's own, or the program
ends. Seeds are fixed.

With `--journal-rows` a journal of so many rows with 11 features, in requests of 10, is written to a
temporary folder, and read by what `mlops monitor drift` and `mlops monitor outliers` run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from mlops.journal.records import Decision, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.drift import watch
from mlops.monitoring.outliers import find_outliers
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion
from mlops.stats.exchangeability import Exchangeability, cut
from mlops.stats.joint import joint_features
from mlops.stats.outlier_document import fit_rows
from mlops.stats.profiles import profile_feature
from mlops.stats.row_codes import codings

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

FEATURES, ALPHA, TRAINING = 30, 0.01, 2_000
JOURNAL_FEATURES, PER_REQUEST, AT_ONCE = 11, 10, 5_000
CHANGE_DAY, PEER_DEPLOYMENTS = 30, 20
KINDS: tuple[Draw, ...] = (
    lambda rng, n: rng.normal(size=n),
    lambda rng, n: rng.lognormal(size=n),
    lambda rng, n: rng.standard_t(2, n),
    lambda rng, n: rng.poisson(2.0, n).astype(float),
    lambda rng, n: rng.choice(5, n, p=[0.5, 0.3, 0.15, 0.04, 0.01]).astype(float),
    lambda rng, n: np.where(rng.random(n) < 0.5, 1e9, rng.normal(size=n)),
)
_NORMAL, _CATEGORY = KINDS[0], KINDS[4]
CHANGES: dict[str, Draw] = {
    "mean, half a deviation": lambda rng, n: rng.normal(0.5, 1, n),
    "mean, a quarter": lambda rng, n: rng.normal(0.25, 1, n),
    "scale, times 1.5": lambda rng, n: rng.normal(0, 1.5, n),
    "one category of five, 4 % to 8 %": lambda rng, n: rng.choice(
        5, n, p=[0.5, 0.3, 0.11, 0.08, 0.01]
    ).astype(float),
    "gradual, a deviation in 60 days": lambda rng, n: rng.normal(np.linspace(0, 1, n), 1),
}


#: Two features whose correlation changes, each of which stays as it was.
CORRELATIONS = {"correlation, 0.7 to 0.3": (0.7, 0.3), "correlation, 0 to 0.5": (0.0, 0.5)}


@dataclass(frozen=True)
class Stream:
    """One feature: what the training had, and what came, day after day."""

    training: Floats
    live: Floats


Detector = Callable[[Stream, int], int | None]


def ours(stream: Stream, rows: int) -> int | None:
    """Return the row of the first alarm, at 1 % for all features together."""
    del rows
    bins = cut(stream.training, 1)
    place = bins.place(stream.live, np.random.default_rng(2).random(len(stream.live)))
    test = Exchangeability(bins.gaps)
    start = 0
    while start + test.size <= len(place):
        end = start + test.size
        counts = np.bincount(place[start:end], minlength=len(bins.gaps)).astype(float)
        if test.take(counts) >= FEATURES / ALPHA:
            return end
        start = end
    return None


def _river(name: str, **options: int) -> Detector:
    def detect(stream: Stream, rows: int) -> int | None:
        del rows
        detector = getattr(importlib.import_module("river.drift"), name)(**options)
        for value in stream.training:
            detector.update(value)
        for row, value in enumerate(stream.live, 1):
            detector.update(value)
            if detector.drift_detected:
                return row
        return None

    return detect


def evidently_column(stream: Stream, rows: int) -> int | None:
    """Return the last row of the first day on which Evidently calls the column drifted."""
    for end in range(rows, len(stream.live) + 1, rows):
        if ks_2samp(stream.training[:1_000], stream.live[end - rows : end]).pvalue < 0.05:
            return end
    return None


def check_evidently(streams: list[Stream], rows: int) -> None:
    """Make sure that SciPy's p-values are those of Evidently."""
    warnings.simplefilter("ignore")
    import pandas as pd

    report = importlib.import_module("evidently").Report
    preset = importlib.import_module("evidently.presets").DataDriftPreset
    numbers = [stream for stream in streams if len(np.unique(stream.training)) > 20]
    before = pd.DataFrame({str(i): each.training[:1_000] for i, each in enumerate(numbers)})
    day = pd.DataFrame({str(i): each.live[:rows] for i, each in enumerate(numbers)})
    told = report([preset()]).run(day, before).dict()["metrics"]
    for index, each in enumerate(numbers):
        mine = ks_2samp(each.training[:1_000], each.live[:rows]).pvalue
        (its,) = (m["value"] for m in told if f"(column={index}," in m["metric_name"])
        if abs(its - mine) > 1e-9:
            sys.exit(f"Evidently says {its}, SciPy {mine}")


def calm(seed: int, length: int) -> list[Stream]:
    """Return the features of a deployment that never drifts."""
    rng = np.random.default_rng(seed)
    draws = [KINDS[index % len(KINDS)] for index in range(FEATURES)]
    return [Stream(draw(rng, TRAINING), draw(rng, length)) for draw in draws]


def detectors(rows: int) -> dict[str, tuple[Detector, int | None]]:
    """Return those that can run here, and on how many deployments at most."""
    found: dict[str, tuple[Detector, int | None]] = {"mlops": (ours, None)}
    if importlib.util.find_spec("river"):
        found["river ADWIN"] = (_river("ADWIN"), PEER_DEPLOYMENTS)
        found["river KSWIN"] = (_river("KSWIN", seed=1), PEER_DEPLOYMENTS)
    if importlib.util.find_spec("evidently"):
        check_evidently(calm(1, rows), rows)
        found["Evidently, a column"] = (evidently_column, PEER_DEPLOYMENTS)
    return found


def false_alarms(
    detect: Detector, deployments: int, length: int, rows: int
) -> dict[str, float | int]:
    """Return how many deployments had a false alarm, and how many features."""
    alarmed, features, started = 0, 0, time.process_time()
    for seed in range(deployments):
        hits = sum(detect(stream, rows) is not None for stream in calm(seed, length))
        alarmed += hits > 0
        features += hits
    seconds = time.process_time() - started
    return {
        "deployments": deployments,
        "alarmed": alarmed,
        "features": features,
        "us_per_value": 1e6 * seconds / (deployments * length * FEATURES),
    }


def delays(detect: Detector, name: str, length: int, rows: int, runs: int) -> dict[str, Any]:
    """Return after how many rows a change is found, and how often never or too early."""
    found, early, never = [], 0, 0
    at, change = CHANGE_DAY * rows, CHANGES[name]
    for seed in range(runs):
        rng = np.random.default_rng(10_000 + seed)
        before = _CATEGORY if "category" in name else _NORMAL
        live = np.concatenate([before(rng, at), change(rng, length - at)])
        when = detect(Stream(before(rng, TRAINING), live), rows)
        if when is None:
            never += 1
        elif when <= at:
            early += 1
        else:
            found.append(when - at)
    return {
        "median_rows": statistics.median(found) if found else None,
        "never": never,
        "before_the_change": early,
        "runs": runs,
    }


def correlation_delays(
    detect: Detector, name: str, length: int, rows: int, runs: int
) -> dict[str, Any]:
    """Return the same for a correlation: ours looks at both features together, peers at each."""
    before, after = CORRELATIONS[name]
    at, found, early, never = CHANGE_DAY * rows, [], 0, 0
    for seed in range(runs):
        rng = np.random.default_rng(20_000 + seed)

        def pairs(n: int, correlation: float, rng: np.random.Generator = rng) -> Floats:
            cells = rng.normal(size=(n, 3))
            cells[:, 1] = correlation * cells[:, 0] + np.sqrt(1 - correlation**2) * cells[:, 1]
            return cells

        training = pairs(TRAINING, before)
        live = np.concatenate([pairs(at, before), pairs(length - at, after)])
        whens = [detect(each, rows) for each in _looked_at(detect, training, live)]
        alarms = [when for when in whens if when is not None]
        if not alarms:
            never += 1
        elif min(alarms) <= at:
            early += 1
        else:
            found.append(min(alarms) - at)
    return {
        "median_rows": statistics.median(found) if found else None,
        "never": never,
        "before_the_change": early,
        "runs": runs,
    }


def _looked_at(detect: Detector, training: Floats, live: Floats) -> list[Stream]:
    if detect is not ours:
        return [Stream(training[:, at], live[:, at]) for at in range(2)]
    names = ["a", "b", "c"]
    known = joint_features({name: training[:, at] for at, name in enumerate(names)}, TRAINING)
    streams = []
    for each in known.values():
        columns = [live[:, names.index(name)] for name in each.statistic.columns]
        assert each.profile.numbers is not None
        reference = np.array(each.profile.numbers.sample)
        streams.append(Stream(reference, each.statistic.values(columns)))
    return streams


def read_journal(folder: Path, rows: int) -> dict[str, dict[str, float]]:
    """Return what it takes to look at every row of a journal: seconds of processor time, and MB."""
    rng = np.random.default_rng(5)
    names = [f"f{at}" for at in range(JOURNAL_FEATURES)]
    training = {name: rng.normal(size=TRAINING).tolist() for name in names}
    profiles = {name: profile_feature(values) for name, values in training.items()}
    pairs = joint_features({name: np.array(them) for name, them in training.items()}, TRAINING)
    detector = fit_rows(training, codings(profiles))
    journal = SqlJournal(f"sqlite:///{folder / 'journal.db'}")
    spec = DeploymentSpec("wine", (Arm("a", ModelVersion("m/1", "m/1", "m"), 1.0),))
    journal.record([RevisionEvent(1, 0, "started", to_dict(spec))])
    requests = rows // PER_REQUEST
    for start in range(0, requests, AT_ONCE):
        cells = rng.normal(size=(min(AT_ONCE, requests - start), PER_REQUEST, len(names))).round(4)
        journal.append(
            [
                Decision(
                    (start + at).to_bytes(12, "big"), start + at, 1, 0, 1.0, PER_REQUEST, 100, 200,
                    "v2", features=f"{json.dumps(names)}\n{json.dumps(each)}".encode(),
                    predictions=[row[0] for row in each],
                )
                for at, each in enumerate(cells.tolist())
            ],
            [],
        )  # fmt: skip
    end = journal.end().decisions
    found = {}
    for name in ("read", "drift", "drift, with pairs", "outliers"):
        started = time.process_time()
        if name == "drift":
            watch(journal, "wine", lambda _: profiles, ALPHA)
        elif name == "drift, with pairs":
            watch(journal, "wine", lambda _: profiles | pairs, ALPHA)
        elif name == "outliers":
            find_outliers(journal, lambda _: detector, ALPHA, requests)
        else:
            after = 0
            while after < end:
                some = journal.decisions(after, end, AT_ONCE)
                after = int(some.seqs[-1])
        seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rate = rows / seconds
        found[name] = {"rows": rows, "cpu_s": seconds, "rows_per_s": rate, "peak_mb": peak}
    journal.close()
    return found


def _print_journal(found: dict[str, dict[str, float]]) -> None:
    for name, its in found.items():
        print(
            f"{name}: {its['rows']:,} rows in {its['cpu_s']:.1f} s of processor time, "
            f"{its['rows_per_s']:,.0f} rows/s; peak memory so far {its['peak_mb']:.0f} MB"
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deployments", type=int, default=100)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rows", type=int, default=200, help="requests a day")
    parser.add_argument("--runs", type=int, default=20, help="of each change")
    parser.add_argument("--journal-rows", type=int, default=0, help="rows of a journal to read")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    length = asked.days * asked.rows
    result: dict[str, Any] = {}
    for name, (detect, most) in detectors(asked.rows).items() if asked.deployments else ():
        n = min(asked.deployments, most or asked.deployments)
        its = {"false alarms": false_alarms(detect, n, length, asked.rows)}
        for change in CHANGES:
            its[change] = delays(detect, change, length, asked.rows, asked.runs)
        for change in CORRELATIONS:
            its[change] = correlation_delays(detect, change, length, asked.rows, asked.runs)
        result[name] = its
        if not asked.json:
            _print(name, its)
    if asked.journal_rows:
        with tempfile.TemporaryDirectory() as folder:
            result["journal"] = read_journal(Path(folder), asked.journal_rows)
        if not asked.json:
            _print_journal(result["journal"])
    if asked.json:
        print(json.dumps(result, indent=1))


def _print(name: str, its: dict[str, Any]) -> None:
    alarms = its.pop("false alarms")
    print(
        f"{name}: false alarms in {alarms['alarmed']} of {alarms['deployments']} deployments, "
        f"{alarms['features']} features; {alarms['us_per_value']:.2f} us a value"
    )
    for change, found in its.items():
        print(
            f"  {change}: median {found['median_rows']} rows; never {found['never']}, before the "
            f"change {found['before_the_change']} of {found['runs']}"
        )


if __name__ == "__main__":
    main()
