"""Faults of every kind, and what must hold whatever happens.

    python benchmarks/faults.py [--only SCENE …] [--rounds 100] [--seed 7]

Seeded and bounded: one command, on this machine only. After each fault an independent reader (SQL,
JSON and HTTP, none of our classes: `agreement.py`, `audit.py`) looks whether

- no acknowledged outcome is lost, doubled, altered, or credited to another arm;
- ledger, aliases and server agree;
- the next command goes on;
- every failure ends in a sentence, without a traceback, and with an exit code of the documentation.

Prints a line for each scene and each broken promise; exits with 1 if there is one. A scene that
cannot be played here (a disk that fills up needs root) is skipped with a sentence.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import machine, wine_project
from durability import quiet_port
from fault_scenes import SCENES
from fault_stage import SkippedError, Stage
from forked_commands import command, prepare


def main(trained: Path, names: list[str], rounds: int, seed: int) -> bool:
    """Play the scenes; return whether all promises were kept."""
    prepare()
    print(machine())
    broken = 0
    for name in names:
        started, found = time.monotonic(), 0
        with _copy(trained) as project:
            stage = Stage(project, rounds, random.Random(f"{seed} {name}"), _say)
            try:
                for fault in SCENES[name](stage):
                    found += 1
                    _say(f"BROKEN {fault}")
            except SkippedError as why:
                print(f"{name}: skipped, {why}")
                continue
        broken += found
        took_s = time.monotonic() - started
        print(f"{name}: {found} promises broken, {took_s:.0f} s", flush=True)
    return not broken


@contextlib.contextmanager
def _copy(trained: Path) -> Iterator[Path]:
    """Give a copy of the project with a port of its own; end what runs there."""
    with tempfile.TemporaryDirectory(prefix="mlops-faults-", ignore_cleanup_errors=True) as folder:
        project = Path(folder, "wine")
        shutil.copytree(trained, project)
        os.environ["MLOPS_DEPLOY_PORT"] = str(quiet_port())
        try:
            yield project
        finally:
            command(project, "stop", "wine")


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SCENES, default=list(SCENES), metavar="SCENE")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--project", type=Path, help="with wine/1 and wine/2; it is copied")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = chosen.project or stack.enter_context(wine_project())
        kept = main(folder, chosen.only, chosen.rounds, chosen.seed)
    sys.exit(0 if kept else 1)
