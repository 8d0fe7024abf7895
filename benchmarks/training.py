"""What does a run of the wine project cost, against `mlflow run --env-manager local`?

python benchmarks/training.py [--turns 5] [--sweep 20] [--jobs 1]

Both sides train the same project with the same parameters, track in an SQLite database of their own
that exists, and log the same artifacts (compared at the end). They take turns, after one turn that
fills caches. Beside wall time stands processor time, which other programs on the machine disturb
less. `mlops train` also registers the model, writes provenance and a reference profile.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import MLOPS, machine, run

from mlops.registry import experiment_id, open_registry
from mlops.settings import load_settings
from mlops.training.project import read_project
from mlops.training.runner import Trial, Work, open_runner
from mlops.training.runs import OwnedRun, fate_of, run_tags

_MLFLOW = MLOPS.with_name("mlflow")


def main(turns: int, sweep_of: int, jobs: int) -> None:
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
            command = [sys.executable, __file__, "--child", str(project), "--sweep", str(sweep_of)]
            wall, cpu = timed([*command, "--jobs", str(jobs)], project, show_output=True)
            one_wall, one_cpu = median(times["mlflow run"])
            name = f"sweep of {sweep_of}, jobs {jobs}"
            show(name, wall, cpu, sweep_of * one_wall, sweep_of * one_cpu)


def timed(
    command: Sequence[str], folder: Path, *, show_output: bool = False
) -> tuple[float, float]:
    """Return the wall and processor time of a command and everything it started, in seconds."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    environ["PATH"] = f"{MLOPS.parent}{os.pathsep}{environ['PATH']}"
    environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if command[0] == str(_MLFLOW):
        environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder.parent / 'theirs.db'}"
    output = None if show_output else subprocess.PIPE
    before, started = _cpu(), time.perf_counter()
    subprocess.run(
        command,
        cwd=folder.parent if "run" in command else folder,
        env=environ,
        check=True,
        stdout=output,
        stderr=output,
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


def sweep(project: Path, number: int, jobs: int) -> None:
    """Train `number` models of one project from one warm parent."""
    settings = load_settings(project)
    work = Work(read_project(project))
    took: list[float] = []
    with open_runner(work, settings, note=print) as runner:
        client = open_registry(settings)
        experiment = experiment_id(client, settings, "sweep")
        owned: dict[str, OwnedRun] = {}

        def trials() -> Iterator[Trial]:
            for index in range(number):
                values = {"alpha": str((index + 1) / 10)}
                tags = run_tags(str(project), "main")
                one = OwnedRun(client, settings, experiment, tags, values)
                run_id = one.__enter__()
                owned[run_id] = one
                yield Trial(run_id, experiment, values)

        for outcome in runner.run(trials(), jobs):
            one = owned[outcome.trial.run_id]
            one.fate = fate_of(outcome.code)
            one.__exit__(None, None, None)
            took.append(outcome.duration_s)
    assert all(one.status == "FINISHED" for one in owned.values())
    early, late = took[1 : 1 + number // 4], took[-(number // 4) :]
    print(
        f"a run: {statistics.median(early):.2f} s in the first quarter,"
        f" {statistics.median(late):.2f} s in the last; with the imports {took[0]:.2f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sweep", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        sweep(given.child, given.sweep, given.jobs)
    else:
        main(given.turns, given.sweep, given.jobs)
