"""`mlops train`."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlops.commands.arguments import NoPreflight
from mlops.commands.command_line import Command
from mlops.commands.options import train_registry as registry
from mlops.commands.options import train_run as run
from mlops.commands.options import train_sweep as sweep
from mlops.commands.output import Json, next_steps, plain, show, with_known_digest
from mlops.commands.remote_training import render_remote, render_training
from mlops.commands.sweep import render_sweep
from mlops.errors import MlopsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from mlops.training import TrainResult

_RUN_ID = re.compile(r"[0-9a-f]{32}|last")
_NEWEST = "last"


class TrainCommand(Command):
    """`mlops train`, whose `--resume` may be given without a run id."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer's own
        """Read the command line; a bare `--resume` means the newest sweep."""
        words = []
        for word, following in itertools.zip_longest(args, args[1:]):
            words.append(word)
            if word == "--resume" and not _RUN_ID.fullmatch(following or ""):
                words.append(_NEWEST)
        return super().parse_args(ctx, words)


#: What the program makes of `train`.
COMMAND_CLASS = TrainCommand


def train(
    project: run.Project = ".",
    parameters: run.Parameters = None,
    from_run: run.FromRun = "",
    entry_point: run.EntryPoint = "main",
    experiment: run.Experiment = "",
    env_manager: run.EnvManager = "",
    backend: run.Backend = None,
    ray_address: run.RayAddress = None,
    require_clean: run.RequireClean = False,
    refuse_untracked: run.RefuseUntracked = False,
    register: registry.Register = "",
    no_register: registry.NoRegister = False,
    model: registry.Model = "",
    alias: registry.Alias = "",
    grid: sweep.Grid = None,
    sampler: sweep.Sampler = None,
    trials: sweep.Trials = None,
    minimize: sweep.Minimize = "",
    maximize: sweep.Maximize = "",
    jobs: sweep.Jobs = 1,
    seed: sweep.Seed = None,
    prune: sweep.Prune = None,
    resume: sweep.Resume = "",
    best: sweep.Best = False,
    html: sweep.Html = "",
    tags: run.Tags = None,
    render: run.Render = None,
    image: run.Image = None,
    namespace: run.Namespace = None,
    backend_config: run.BackendConfig = "",
    follow: run.Follow = False,
    no_preflight: NoPreflight = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Run an MLproject, or a sweep, tracked in MLflow; register the model it logs.

    For example `mlops train -P alpha=0.5`, or a sweep: `mlops train -P alpha=0.1,0.5,1.0`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.settings.project import way_to
    from mlops.training import TrainRequest, TrainResult, train_or_sweep
    from mlops.training.databricks import run_on_databricks
    from mlops.training.sweep import SweepOptions
    from mlops.workflows.preflight import preflight

    if minimize and maximize:
        raise UsageError("`--minimize` and `--maximize` contradict each other.")

    request = TrainRequest(
        project=project,
        parameters=tuple(parameters or ()),
        entry_point=entry_point,
        experiment=experiment,
        env_manager=env_manager,
        register=register,
        no_register=no_register,
        model=model,
        alias=alias,
        require_clean=require_clean,
        refuse_untracked=refuse_untracked,
        grid=tuple(grid or ()),
        from_run=from_run,
        tags=tuple(tags or ()),
        sweep=SweepOptions(
            sampler=sampler or "",
            trials=trials or 0,
            metric=minimize or maximize,
            direction="maximize" if maximize else "minimize",
            jobs=jobs,
            seed=seed,
            prune=prune,
            resume=resume,
            best=best,
            html=html,
        ),
    )
    flags = {
        "training.backend": backend,
        "training.ray_address": ray_address,
        "training.image": image,
        "training.namespace": namespace,
    }
    folder = Path(project).expanduser()
    settings = load_settings(folder if folder.is_dir() else None, flags=flags)
    only: dict[str, dict[str, object]] = {
        "kubernetes": {"--render": render, "--image": image, "--namespace": namespace},
        "databricks": {"--backend-config": backend_config},
    }
    _check_backend(settings.training.backend, only)
    if settings.training.backend == "kubernetes":
        render_training(request, settings, render, as_json=as_json)
        return
    with PhaseProgress(follow=follow) as progress:
        if way := way_to(settings.project_dir):
            progress.note(f"state is kept beside the project, in {way}/.mlops")
        if not no_preflight:
            preflight(settings, write=True)
        if settings.training.backend == "databricks":
            ran = run_on_databricks(request, settings, backend_config, progress)
            show(plain(ran), as_json=as_json, render=lambda out: render_remote(out, ran))
            return
        result = train_or_sweep(request, settings, progress)
    if isinstance(result, TrainResult):
        single = result
        show(
            with_known_digest(plain(single)),
            as_json=as_json,
            render=lambda out: _render(out, single, settings.project_dir),
        )
        return
    swept = result
    show(plain(swept), as_json=as_json, render=lambda out: render_sweep(out, swept))
    if swept.failed:
        raise typer.Exit(MlopsError.exit_code)


def _check_backend(backend: str, only: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse options that belong to another backend."""
    for owner, options in only.items():
        given = [option for option, value in options.items() if value]
        if given and backend != owner:
            raise UsageError(
                f"`{'`, `'.join(given)}` goes with `--backend {owner}`, and this is `{backend}`.",
                hint=f"Add `--backend {owner}`, or leave it out.",
            )


def _render(out: Console, result: TrainResult, project_dir: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    label = (
        result.model.label
        if result.model is not None
        else f"nothing registered: {result.unregistered}"
    )
    alias = f" [cyan]@{escape(result.alias)}[/]" if result.alias else ""
    moved = f" [dim](was version {result.moved_from})[/]" if result.moved_from else ""
    out.print(f"[bold green]{escape(label)}[/]{alias}{moved}")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", overflow="fold")
    facts.add_column(overflow="fold")
    facts.add_row("run", result.run_id)
    facts.add_row("experiment", escape(result.experiment))
    if result.code.commit:
        dirty = " [yellow]and uncommitted changes[/]" if result.code.dirty else ""
        facts.add_row("commit", f"{result.code.commit[:12]}{dirty}")
    for title, values in (
        ("metrics", {name: f"{number:.6g}" for name, number in sorted(result.metrics.items())}),
        ("parameters", result.params),
    ):
        if values:
            facts.add_row(f"[bold]{title}[/]", "")
        for name, value in values.items():
            text = escape(value)
            facts.add_row(f"  {escape(name)}", f"[bold]{text}[/]" if title == "metrics" else text)
    out.print(facts, soft_wrap=False)
    out.print(f"[dim]log[/] {escape(_from_here(result.log))}", soft_wrap=True)
    from mlops.training.registration import from_here

    next_steps(out, [*result.next_commands, *from_here(["mlops ui"], project_dir)])


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
