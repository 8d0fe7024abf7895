"""How quick is `mlops --help`? Against a hello-world Typer program, in turn, in one run.

python benchmarks/startup.py [--runs 21]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import MLOPS, machine

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
            "typer hello --help": [python, str(hello), "--help"],
            "mlops --help": [str(MLOPS), "--help"],
            "mlops --version": [str(MLOPS), "--version"],
            "mlops status": [str(MLOPS), "status"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, capture_output=True, check=True, cwd=folder)
                if turn:  # the first fills the page cache
                    times[name].append(time.perf_counter() - started)
    print(machine())
    base = statistics.median(times["typer hello --help"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<20} {median * 1000:7.0f} ms   {median / base:.2f} x hello")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    main(parser.parse_args().runs)
