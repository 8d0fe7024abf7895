"""An idle A/B test of two wine models: what memory it takes, and how long `mlops deploy` takes.

    python benchmarks/idle.py [--rounds 5]

Memory is the proportional share of each process (PSS), in which what processes share counts once in
all, after the server has been idle for some seconds. What is in it: a fresh interpreter makes the
imports of the server one after another, and says by how much each makes it grow. `mlops deploy` is
timed from the command to its end, at which the server answers; its models are trained and their
runtimes proved before. Processor time is that of the command and of the server together.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import MLOPS, machine, run, state_of, wine_project

_IDLE_S = 10
_TICK = os.sysconf("SC_CLK_TCK")
# In an order in which each brings what it alone needs.
_IMPORTS = (
    "numpy", "pandas", "mlflow.pyfunc", "sqlalchemy", "sklearn.linear_model", "mlflow.sklearn",
    "skops.io", "uvicorn", "starlette", "mlops.serving.alone",
)  # fmt: skip
_GROWTH = """
import importlib, sys
from pathlib import Path

def size():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

before = size()
print(f"Python {before}")
for name in sys.argv[1:]:
    importlib.import_module(name)
    after = size()
    print(f"{name} {after - before}")
    before = after
"""


def main(rounds: int) -> None:
    print(machine())
    with wine_project() as project:
        words = ("deploy", "--ab", "wine/1", "wine/2")
        run(*words, cwd=project)
        times = []
        for _ in range(rounds):
            run("stop", "wine", cwd=project)
            times.append(_deploy(project, words))
        wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"mlops {' '.join(words)}: {wall:.2f} s, {processor:.2f} s of processor time")
        time.sleep(_IDLE_S)
        _print_memory(int(str(state_of(project)["pid"])))
        _print_imports(project)


def _deploy(project: Path, words: tuple[str, ...]) -> tuple[float, float]:
    """Return wall and processor seconds until the server answers."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([MLOPS, *words], cwd=project, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, os.times()
    command = after.children_user - before.children_user
    command += after.children_system - before.children_system
    return wall, command + _processor_s(int(str(state_of(project)["pid"])))


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Its own, and that of those it has waited for.
    return sum(int(field) for field in fields[11:15]) / _TICK


def _print_memory(server: int) -> None:
    total = 0.0
    for pid in [server, *_descendants(server)]:
        sizes = _sizes(pid)
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        what = next((word for word in words if word.startswith("mlops.")), "server")
        total += sizes["Pss"]
        print(
            f"{what:<32}{sizes['Pss']:>7.0f} MiB, of them its own {sizes['Private_Dirty']:.0f}, "
            f"resident {sizes['Rss']:.0f}"
        )
    print(f"{'together':<32}{total:>7.0f} MiB")


def _sizes(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _print_imports(project: Path) -> None:
    command = [sys.executable, "-P", "-c", _GROWTH, *_IMPORTS]
    said = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout
    for line in said.splitlines():
        name, _, size = line.rpartition(" ")
        print(f"  {name:<30}{int(size) / 1024:>7.1f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args().rounds)
