"""`mlops ramp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import (
    ClusterTimeout,
    Context,
    DryRun,
    Kubeconfig,
    Name,
    Remote,
    flags_of,
    takes_remote,
)
from mlops.commands.output import Json, moment, next_steps, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.monitoring.guardrails import GuardrailReport
    from mlops.monitoring.ramp import RampLook
    from mlops.workflows.ramp import Ramped


@takes_remote("timeout_s")
def ramp(
    name: Name = None,
    exit_zero: Annotated[
        bool,
        typer.Option(
            "--exit-zero",
            help="Exit with 0 whatever the outcome of the ramp; errors keep their codes.",
        ),
    ] = False,
    remote: Remote = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: ClusterTimeout = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Look at the ramp of a canary once: continue, wait, or roll back.

    Exits with 0 moved, 10 rolled back, 11 waiting, 13 withheld, 16 finished. For example `mlops
    ramp wine`, every few minutes by cron or CI.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.workflows.ramp import EXIT_CODES
    from mlops.workflows.ramp import ramp as look_once

    with PhaseProgress() as progress:
        found = look_once(
            load_settings(flags=flags_of(kubeconfig, context, timeout)),
            name,
            dry_run=dry_run,
            remote=remote,
            say=progress.phase,
            on_wait=progress.line,
        )
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found, dry_run))
    if not exit_zero:
        raise typer.Exit(EXIT_CODES[found.outcome])


_STYLES = {"moved": "green", "finished": "bold green", "rolled back": "bold red"}


def _render(out: Console, found: Ramped, dry_run: bool) -> None:
    from rich.markup import escape

    from mlops.registry.ledger import summary

    style = _STYLES.get(found.outcome, "yellow")
    would = "would be " if dry_run and found.moved else ""
    out.print(f"[bold]{found.name}[/] [{style}]{would}{found.outcome}[/]  {escape(found.reason)}")
    look = found.look
    if look is not None:
        _render_look(out, look)
    if found.moved is not None:
        verb = "would serve" if dry_run else f"revision {found.revision} serves"
        out.print(f"{verb} [bold]{escape(summary(found.moved.spec))}[/]")
    if found.again:
        from mlops.monitoring.split_words import REPORT_STAYS, STAYS, WHERE_TO_LOOK

        out.print(f"[yellow]hint:[/] {WHERE_TO_LOOK} {STAYS}", soft_wrap=False)
        out.print("\nWhen it is mended, this begins the ramp again, without that evidence:")
        next_steps(out, found.again)
        out.print(f"\n[yellow]hint:[/] {REPORT_STAYS}", soft_wrap=False)
    elif found.outcome == "finished" and look is not None and look.decision == "done":
        next_steps(out, [f"mlops promote {found.name} --auto"])
    elif found.moved is not None and not dry_run:
        next_steps(out, [f"mlops history {found.name}"])


def _render_look(out: Console, look: RampLook) -> None:
    from rich.markup import escape
    from rich.table import Table

    path = " → ".join(
        f"[bold]{step:g}[/]" if step == look.percent else f"{step:g}" for step in look.steps
    )
    out.print(
        f"[dim]{escape(look.canary)} at[/] {path} [dim]% since {moment(look.since_ms)}, "
        f"{look.units:,} units[/]"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("guardrail", look.baseline, look.canary, "difference", "margin", ""):
        right = head not in ("guardrail", "")
        table.add_column(escape(head), justify="right" if right else "left")
    for each in look.guardrails:
        table.add_row(*_row(each))
    out.print(table)
    out.print(
        f"[dim]evidence for a rollback {min(look.evidence, 1e6):.3g} of {1 / look.alpha:.3g}, "
        f"sample ratio p = {look.sample_ratio:.2g}, the smallest so far[/]"
    )


def _row(each: GuardrailReport) -> list[str]:
    from rich.markup import escape

    from mlops.monitoring.guardrails import figures

    styles = {"passes": "[green]kept[/]", "fails": "[red]broken[/]", "open": "[yellow]open[/]"}
    return [*map(escape, figures(each)), styles[each.state]]
