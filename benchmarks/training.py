"""What does a run of the wine project cost, against `mlflow run --env-manager local`?

python benchmarks/training.py [--turns 5] [--sweep 20] [--jobs 1 2]

Both sides train the same project with the same parameters, track in an SQLite database of their own
that exists, and log the same artifacts (compared at the end). They take turns, after one turn that
fills caches. Beside wall time stands processor time, which other programs on the machine disturb
less. `mlops train` also registers the model, writes provenance and a reference profile. A sweep is
the command as a person types it, from its start to its end, against so many times `mlflow run`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import MLOPS, machine, run

_MLFLOW = MLOPS.with_name("mlflow")


def main(turns: int, sweep_of: int, jobs: Sequence[int]) -> None:
    print(machine())
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        project = Path(folder) / "wine"
        project.mkdir()
        run("init", "--template", "wine", cwd=project)
        ours = [str(MLOPS), "train", "-P", "alpha=0.5"]
        theirs = [str(_MLFLOW), "run", str(project), "--env-manager", "local", "-P", "alpha=0.5"]
        times: dict[str, list[tuple[float, float]]] = {"mlflow run": [], "mlops train": []}
        for turn in range(turns + 1):
            for name, command in (("mlflow run", theirs), ("mlops train", ours)):
                took = timed(command, project)
                if turn:
                    times[name].append(took)
        for name, values in times.items():
            show(name, *median(values), *median(times["mlflow run"]))
        same_artifacts(project)
        if sweep_of:
            one_wall, one_cpu = median(times["mlflow run"])
            for number_of_jobs in jobs:
                alphas = ",".join(f"{(index + 1) / sweep_of:g}" for index in range(sweep_of))
                command = [str(MLOPS), "train", "-P", f"alpha={alphas}", "--minimize", "rmse"]
                output = project / "sweep.json"
                wall, cpu = timed([*command, "-j", str(number_of_jobs), "--json"], project, output)
                title = f"sweep of {sweep_of}, -j {number_of_jobs}"
                show(title, wall, cpu, sweep_of * one_wall, sweep_of * one_cpu)
                show_trials(json.loads(output.read_text()), sweep_of)


def timed(command: Sequence[str], folder: Path, output: Path | None = None) -> tuple[float, float]:
    """Return the wall and processor time of a command and everything it started, in seconds."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    environ["PATH"] = f"{MLOPS.parent}{os.pathsep}{environ['PATH']}"
    environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if command[0] == str(_MLFLOW):
        environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder.parent / 'theirs.db'}"
    with (output or Path(os.devnull)).open("wb") as sink:
        before, started = _cpu(), time.perf_counter()
        subprocess.run(
            command,
            cwd=folder.parent if "run" in command else folder,
            env=environ,
            check=True,
            stdout=sink,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - started, _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def median(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return (
        statistics.median(wall for wall, _ in values),
        statistics.median(cpu for _, cpu in values),
    )


def show(name: str, wall: float, cpu: float, base_wall: float, base_cpu: float) -> None:
    print(
        f"{name:<20} {wall:7.2f} s wall, {wall / base_wall:6.3f} of mlflow run;"
        f" {cpu:7.2f} s processor, {cpu / base_cpu:6.3f} of mlflow run"
    )


def same_artifacts(project: Path) -> None:
    """Check that both sides left the same files."""
    places = (project.parent / "mlruns", project / ".mlops" / "artifacts")
    files = []
    for place in places:
        model = min(place.rglob("MLmodel"), key=lambda path: path.stat().st_mtime).parent
        files.append({str(file.relative_to(model)) for file in model.rglob("*")})
    theirs, ours = files
    print("files of theirs that ours lacks:", sorted(theirs - ours) or "none")
    print("files of ours that theirs lacks:", sorted(ours - theirs) or "none")


def show_trials(document: Mapping[str, Any], expected: int) -> None:
    """Say what one trial takes, early and late, after checking that none was lost."""
    trials = document["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * expected, trials
    took = [trial["duration_s"] for trial in trials]
    quarter = max(1, expected // 4)
    early, late = took[1 : 1 + quarter], took[-quarter:]
    print(
        f"  a trial: {statistics.median(early):.2f} s in the first quarter,"
        f" {statistics.median(late):.2f} s in the last; with the imports {took[0]:.2f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sweep", type=int, default=20)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    main(given.turns, given.sweep, given.jobs)
