"""Chooses the runner for a piece of work."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mlops.errors import UsageError, did_you_mean, one_of
from mlops.plugins import Plugins
from mlops.training import nested
from mlops.training.environments import Environment, choose_environment
from mlops.training.runner.base import OnLine, Runner, Work
from mlops.training.runner.child import base_environment
from mlops.training.runner.cold import ColdRunner
from mlops.training.runner.ray import RayRunner, check_store
from mlops.training.runner.warm import WarmRunner
from mlops.training.store import reach_store
from mlops.training.store.serving import DATABASES
from mlops.training.warm.parent import Config

if TYPE_CHECKING:
    from mlops.settings.needs import TrainSettings


@dataclass(frozen=True, slots=True)
class Bench:
    """What a backend needs to make a runner.

    Attributes:
        work: What to run.
        settings: Where MLflow and `.mlops` are.
        say: Called with what the user should know.
        on_line: Gets every line of the trials' output.
    """

    work: Work
    settings: TrainSettings
    say: Callable[[str], None]
    on_line: OnLine | None

    def logs(self) -> Path:
        """Make the folder of the trials' output, where it is not there yet."""
        logs = self.settings.make_home() / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        return logs


#: Gives an entered runner, and ends it.
Backend: TypeAlias = Callable[[Bench], AbstractContextManager[Runner]]
#: What `--backend` takes.
BACKENDS: Plugins[Backend] = Plugins(
    "training backend",
    {
        "local": "mlops.training.runner.factory:open_local",
        "ray": "mlops.training.runner.factory:open_ray",
        "kubernetes": "mlops.training.runner.factory:refuse_remote",
        "databricks": "mlops.training.runner.factory:refuse_remote",
    },
    group="mlops.backends",
    needs=("__call__",),
)


@contextmanager
def open_runner(
    work: Work,
    settings: TrainSettings,
    on_line: OnLine | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[Runner]:
    """Give a runner for a piece of work, entered, and what it needs beside it.

    Args:
        work: What to run.
        settings: Where MLflow and `.mlops` are.
        on_line: Gets every line of the trials' output.
        note: Called with notes for the user: which environment, and why MLflow's own runner is
            used if it is.

    Raises:
        InvalidInputError: The environment that was asked for cannot be had here.
    """
    say = note or _nobody
    backend = settings.training.backend
    check_backend(backend)
    with BACKENDS.load(backend)(Bench(work, settings, say, on_line)) as runner:
        yield runner


def check_backend(name: str) -> None:
    """Check the name of a backend.

    Raises:
        UsageError: There is none of this name; the closest is named.
    """
    if name not in BACKENDS:
        known = BACKENDS.names()
        raise UsageError(
            f"There is no backend `{name}`.",
            hint=did_you_mean(name, known) or f"It is {one_of(known)}.",
        )


@contextmanager
def open_local(bench: Bench) -> Iterator[Runner]:
    """Run trials as processes of this machine."""
    settings, say = bench.settings, bench.say
    logs = bench.logs()
    environment = choose_environment(bench.work.env_manager, bench.work.project, settings.home, say)
    with (
        reach_store(settings, environment, logs, say) as reach,
        _local(bench.work, settings, environment, reach, logs, say, bench.on_line) as runner,
    ):
        yield runner


@contextmanager
def open_ray(bench: Bench) -> Iterator[Runner]:
    """Give trials to Ray."""
    settings = bench.settings
    check_store(settings, settings.training.ray_address)
    with RayRunner(bench.work, settings, bench.logs(), bench.say, bench.on_line) as runner:
        yield runner


def refuse_remote(bench: Bench) -> AbstractContextManager[Runner]:
    """Refuse: nothing is run from here by these.

    Raises:
        UsageError: Always.
    """
    raise UsageError(
        f"`{bench.settings.training.backend}` is a backend of `mlops train` alone.",
        hint="Set `backend` of [training] to `local` or `ray`.",
    )


def _local(
    work: Work,
    settings: TrainSettings,
    environment: Environment,
    reach: Mapping[str, str],
    logs: Path,
    say: Callable[[str], None],
    on_line: OnLine | None,
) -> Runner:
    extra = {**reach, nested.VARIABLE: environment.manager}
    variables = base_environment(settings, environment.python, extra)

    def cold() -> ColdRunner:
        ready = replace(work, env_manager=environment.mlflow_manager)
        path = os.pathsep.join(filter(None, [str(nested.FOLDER), variables.get("PYTHONPATH")]))
        return ColdRunner(ready, variables | {"PYTHONPATH": path}, logs, on_line)

    reason = _unsuitable(work, settings, environment)
    if reason:
        say(f"MLflow's own runner is used: {reason}")
        return cold()
    config = _config(work, settings, environment.python, variables)
    return WarmRunner(work, config, environment.python, logs, cold, say, on_line)


def _unsuitable(work: Work, settings: TrainSettings, environment: Environment) -> str:
    if not settings.training.warm:
        return "the setting `training.warm` is off"
    if sys.platform != "linux":
        return f"on `{sys.platform}` a fork of a process with numeric libraries is not safe"
    if work.project.environment == "docker_env":
        return "the project runs in a container"
    return environment.not_ours


def _config(
    work: Work, settings: TrainSettings, python: Path, variables: Mapping[str, str]
) -> Config:
    place = settings.home / "warm"
    place.mkdir(mode=0o700, exist_ok=True)
    identity = f"{python}\n{work.project.folder.name}\n{work.entry_point}"
    return Config(
        folder=str(work.project.folder),
        place=str(place),
        key=hashlib.sha256(identity.encode()).hexdigest()[:16],
        environment=variables,
        database=variables["MLFLOW_TRACKING_URI"].startswith(DATABASES),
    )


def _nobody(_text: str) -> None:
    """Reports nothing."""
