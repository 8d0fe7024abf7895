"""What `mlops lint` says about a corpus: `python -m tests.linting.corpus [--sample N] DIR…`.

Prints, for each folder, how many files were read, how many errors, warnings and notes they have,
how many crashed, and which file took longest; then the rules that fired. With `--sample N` also N
errors drawn at random (seed 20261128), to be judged by hand against the platforms' sources.
"""

from __future__ import annotations

import argparse
import random
import time
import traceback
from collections import Counter
from pathlib import Path

from mlops.deployment.linting import lint_paths, manifests_below
from mlops.linting import Finding, lint_text

SEED = 20261128


def timed(folder: str) -> tuple[list[str], float, str]:
    """Check each file alone; return those that crash, the longest time in s, and its file."""
    crashed, longest, slowest = [], 0.0, ""
    for file in manifests_below(Path(folder)):
        text = file.read_text(encoding="utf-8", errors="replace")
        begun = time.perf_counter()
        try:
            lint_text(text, str(file))
        except Exception:  # noqa: BLE001 - a crash is what is counted
            crashed.append(f"{file}\n{traceback.format_exc()}")
        took = time.perf_counter() - begun
        if took > longest:
            longest, slowest = took, f"{file} ({len(text) / 1e6:.1f} MB)"
    return crashed, longest, slowest


def main() -> None:
    """Print the figures of every folder that is named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--sample", type=int, default=0)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    errors: list[Finding] = []
    for folder in options.folders:
        crashed, longest, slowest = timed(folder)
        begun = time.perf_counter()
        report = lint_paths([folder])
        took = time.perf_counter() - begun
        counted = Counter(str(finding.severity) for finding in report.findings)
        counted |= Counter({"file": len(report.files), "crash": len(crashed)})
        total += counted
        errors += [finding for finding in report.findings if finding.severity == "error"]
        print(f"{folder}: {', '.join(f'{n} {key}s' for key, n in sorted(counted.items()))}")
        print(f"    together {took:.1f} s; slowest alone {longest:.2f} s, {slowest}")
        print("".join(crashed), end="")
    print("all: " + ", ".join(f"{n} {key}s" for key, n in sorted(total.items())))
    for rule, count in Counter(finding.rule for finding in errors).most_common():
        print(f"{count:6} {rule}")
    drawn = random.Random(SEED).sample(errors, min(options.sample, len(errors)))
    for finding in sorted(drawn, key=lambda each: (each.rule, each.file)):
        print(
            f"{finding.rule} | {finding.file}:{finding.line} | {finding.path} | {finding.message}"
        )


if __name__ == "__main__":
    main()
