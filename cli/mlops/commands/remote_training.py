"""What `mlops train` shows of runs that execute on another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mlops.commands.output import next_steps, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.settings import Settings
    from mlops.training import TrainRequest
    from mlops.training.databricks import DatabricksRun
    from mlops.workflows.training_job import TrainingJob


def render_training(
    request: TrainRequest, settings: Settings, to: str | None, *, as_json: bool
) -> None:
    """Render a Job and show where it is, or all of it."""
    from mlops.workflows.training_job import render_job

    job = render_job(request, settings, to)
    if to == "-" and not as_json:
        typer.echo(job.stream, nl=False)
        return
    show(plain(job), as_json=as_json, render=lambda out: _render_job(out, job))


def render_remote(out: Console, result: DatabricksRun) -> None:
    """Show the result of a run on Databricks."""
    from rich.markup import escape

    label = result.model.label if result.model is not None else "nothing registered"
    alias = f" [cyan]@{escape(result.alias)}[/]" if result.alias else ""
    out.print(f"[bold green]{escape(label)}[/]{alias}")
    out.print(f"run {result.run_id} of experiment {escape(result.experiment)}")
    for name, number in sorted(result.metrics.items()):
        out.print(f"  {escape(name)} [bold]{number:.6g}[/]")
    next_steps(out, result.next_commands)


def _render_job(out: Console, job: TrainingJob) -> None:
    from rich.markup import escape

    marks = {"create": "[green]+[/]", "update": "[yellow]~[/]", "same": "[dim]=[/]"}
    trials = "1 run" if job.trials == 1 else f"{job.trials} trials, {job.parallel} at a time"
    out.print(f"[bold]{escape(job.name)}[/], a Job of {trials}, rendered to")
    for file in job.files:
        out.print(f"  {marks[file.change]} {escape(file.path)}")
    where = f"experiment {job.experiment}, runs with the tag job={job.name}"
    out.print(f"[dim]{escape(where)}[/]", soft_wrap=True)
    next_steps(out, job.next_commands)
