"""What an audit trail of 10,000 entries costs: to write, to add one to, and to check.

    python benchmarks/trail.py [--entries 10000]

Seconds of processor time, the best of three; the entries are those of promotions with a verdict.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlops.audit import Event, Trail
from mlops.audit.verifying import Head, verify
from mlops.settings.actor import Actor

ANN = Actor("ann", "box", "https://ci.example/job/7")
VERDICT = {"effect": 0.0496, "lower": 0.0016, "upper": 0.0977, "n": 4_000, "reason": "x" * 300}


def promotion(number: int) -> Event:
    """Return an entry of about 1 kB."""
    arms = [{"name": name, "model": f"wine/{number}", "weight": 0.5} for name in "ab"]
    return Event(
        "promote",
        f"revision {number}",
        1_700_000_000_000 + number,
        {"user": "ann", "host": "box"},
        id=f"revision/{number}/live",
        before={"revision": number - 1},
        after={"revision": number, "arms": arms, "spec": "sha256:" + "0" * 64},
        evidence={"reason": "it is better", "verdict": VERDICT},
    )


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of the best of three calls."""
    times = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    count = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as folder:
        trail = Trail(Path(folder) / "wine.jsonl")
        started = time.process_time()
        trail.append([promotion(number) for number in range(1, count + 1)], ANN)
        written = time.process_time() - started
        last = trail.entries()[-1]
        head = Head(str(last.document["trail"]), "box:/wine", last.seq, last.hash, "MLflow")
        checked = seconds(lambda: verify("wine", trail.lines(), [head], "box:/wine"))
        assert verify("wine", trail.lines(), [head], "box:/wine").result == "whole"
        size = trail.path.stat().st_size
        added = seconds(lambda: trail.append([Event("x", "y", 0, {})], ANN))
    print(f"{count:,} entries, {size / 1e6:.1f} MB\n")
    print("| | s |\n|---|---|")
    print(f"| write all | {written:.2f} |\n| add one | {added:.3f} |\n| verify | {checked:.3f} |")


if __name__ == "__main__":
    main()
