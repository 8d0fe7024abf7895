"""How quick are `mlops --help` and `mlops status`? Against a hello-world Typer program, in turn.

    python benchmarks/startup.py [--runs 21]

Help is compared with the help of the small program, and a command with its command, for which
Typer imports pydantic. Wall time, and processor time, which other programs on the machine change
less.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import MLOPS, machine

_HELP, _RUN = "typer hello --help", "typer hello"
_HELLO = """
import typer

app = typer.Typer()


@app.command()
def hello(name: str = "world") -> None:
    print(name)


app()
"""


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hello = Path(folder) / "hello.py"
        hello.write_text(_HELLO)
        python = sys.executable
        commands = {
            _HELP: [python, str(hello), "--help"],
            "mlops --help": [str(MLOPS), "--help"],
            "mlops --version": [str(MLOPS), "--version"],
            _RUN: [python, str(hello)],
            "mlops status": [str(MLOPS), "status"],
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                took = _times(command, folder)
                times[name] += [took] if turn else []  # the first fills the page cache
    print(machine())
    medians = {
        name: [statistics.median(column) for column in zip(*values, strict=True)]
        for name, values in times.items()
    }
    for name, (wall, processor) in medians.items():
        base = medians[_RUN if name in (_RUN, "mlops status") else _HELP]
        print(
            f"{name:<20} {wall * 1000:7.0f} ms   {wall / base[0]:.2f} x hello"
            f"   processor {processor * 1000:5.0f} ms   {processor / base[1]:.2f}"
        )


def _times(command: list[str], folder: str) -> tuple[float, float]:
    """Return wall and processor time of a command in seconds."""
    before, started = _processor_s(), time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, cwd=folder)
    return time.perf_counter() - started, _processor_s() - before


def _processor_s() -> float:
    """Of all children that have ended; `os.times` counts in hundredths of a second."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    main(parser.parse_args().runs)
