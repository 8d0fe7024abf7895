"""`mlops promote`, `mlops rollback`, `mlops history`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

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
from mlops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.registry.ledger import Entry
    from mlops.spec.deployment import DeploymentSpec
    from mlops.workflows.promotion import NotMoved
    from mlops.workflows.revision_change import Moved
    from mlops.workflows.uptime import Span

# So many stretches of time of one revision are shown.
_SPANS = 3


@takes_remote("timeout_s")
def promote(
    name: Name = None,
    arm: Annotated[
        str, typer.Option(help="Arm to promote; by default the winner.", show_default=False)
    ] = "",
    force: Annotated[
        str,
        typer.Option(
            metavar="REASON",
            help="Promote --arm against the verdict; give the reason.",
            show_default=False,
        ),
    ] = "",
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Act on the verdict only: if it does not say to promote, change "
            "nothing, print why, and exit as `mlops report --exit-code`.",
        ),
    ] = False,
    remote: Remote = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: ClusterTimeout = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give all traffic and the alias champion to the winner of the verdict.

    For example `mlops promote wine`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.workflows.promotion import NotMoved, promote_by_verdict
    from mlops.workflows.promotion import promote as move

    if auto and (arm or force):
        raise UsageError(
            "`--auto` acts on the verdict alone: it cannot be combined with `--arm` or `--force`."
        )
    choose = promote_by_verdict if auto else partial(move, arm=arm, force=force)
    with PhaseProgress() as progress:
        moved = choose(
            load_settings(flags=flags_of(kubeconfig, context, timeout)),
            name,
            dry_run=dry_run,
            remote=remote,
            say=progress.phase,
            on_wait=progress.line,
        )
    if isinstance(moved, NotMoved):
        _leave(moved, as_json)
    show(plain(moved), as_json=as_json, render=lambda out: _render_moved(out, moved, dry_run))


def _leave(found: NotMoved, as_json: bool) -> NoReturn:
    """Say why nothing was promoted, and exit as the report does."""
    from rich.markup import escape

    from mlops.monitoring.verdict import EXIT_CODES, FINISHED

    show(
        {**plain(found), "changed": False},
        as_json=as_json,
        render=lambda out: out.print(
            f"[bold]{found.name}[/] stays as it is: [yellow]{found.decision}[/]  "
            f"{escape(found.reason)}"
        ),
    )
    raise typer.Exit(FINISHED if found.finished else EXIT_CODES[found.decision])


def rollback(
    name: Name = None,
    to: Annotated[
        int | None, typer.Option(min=1, help="Revision to return to; by default the one before.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.", show_default=False)] = "",
    force_conflicts: Annotated[
        bool,
        typer.Option(
            "--force-conflicts",
            help="Take over a name that another project deployed; on a cluster also fields that "
            "other managers set.",
        ),
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: ClusterTimeout = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Serve an earlier revision again and put the aliases back.

    For example `mlops rollback wine`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.workflows.rollback import rollback as move

    with PhaseProgress() as progress:
        moved = move(
            load_settings(flags=flags_of(kubeconfig, context, timeout)),
            name,
            to=to,
            reason=reason,
            dry_run=dry_run,
            force=force_conflicts,
            say=progress.phase,
            on_wait=progress.line,
        )
    show(plain(moved), as_json=as_json, render=lambda out: _render_moved(out, moved, dry_run))


def history(name: Name = None, as_json: Json = False) -> None:
    """Show the revisions of a deployment: what was live when, who did it, and why.

    For example `mlops history wine`.
    """
    from mlops.settings import load_settings
    from mlops.settings.actor import place_of
    from mlops.workflows.rollback import history as read_history
    from mlops.workflows.uptime import uptime

    settings = load_settings()
    entries = read_history(settings, name)
    served = uptime(settings, entries[0].intent.spec.name)
    document = {"revisions": plain(entries), "served": plain(served)}
    here = place_of(settings.home)
    show(document, as_json=as_json, render=lambda out: _render_history(out, entries, served, here))


def _render_moved(out: Console, moved: Moved, dry_run: bool) -> None:
    from rich.markup import escape

    from mlops.registry.ledger import summary
    from mlops.spec.describing import describe_choice

    number = "" if dry_run else f"revision {moved.revision} "
    head = "would serve" if dry_run else "serves" if moved.changed else "already serves"
    out.print(
        f"[bold green]{moved.name}[/] {number}{head} "
        f"[bold]{escape(summary(moved.spec))}[/]  {moved.url}"
    )
    if choice := describe_choice(moved.spec):
        out.print(f"  [dim]{escape(choice)}[/]")
    if moved.place:
        out.print(f"  in {escape(moved.place)}")
    for move in moved.aliases:
        target = f"version {move.version}" if move.version else "nothing"
        before = f"version {move.before}" if move.before else "nothing"
        out.print(f"  alias {escape(move.model)}@{move.alias}: {before} → {target}")
    out.print(f"  [dim]{escape(moved.reason)}[/]")
    if not dry_run:
        next_steps(out, [f"mlops history {moved.name}", f"mlops rollback {moved.name}"])


def _render_history(
    out: Console, entries: Sequence[Entry], served: Mapping[int, Sequence[Span]], here: str
) -> None:
    from rich.markup import escape

    from mlops.deployment.owners import describe_place
    from mlops.registry.ledger import summary
    from mlops.spec.describing import describe_choice

    if entries:
        out.print("[dim] REV  STATE     LIVE SINCE (UTC)      ACTION    BY[/]")
    styles = {
        "live": "bold green", "failed": "red", "pending": "yellow", "replaced": "dim",
        "stopped": "yellow", "crashed": "red",
    }  # fmt: skip
    for entry in entries:
        spans = served.get(entry.number, ())
        state = _answers(spans) or entry.state if entry.state == "live" else entry.state
        when = moment(entry.live_ms or entry.created_ms)
        out.print(
            f"[{styles[state]}]{entry.number:>4}  {state:<8}[/]  {when}  "
            f"{entry.intent.action:<8}  {escape(entry.author)}"
        )
        spec, place = entry.intent.spec, entry.intent.place
        out.print(f"      {escape(summary(spec))}  [dim]reward {escape(_reward(spec))}[/]")
        if choice := describe_choice(spec):
            out.print(f"      [dim]{escape(choice)}[/]")
        if place is not None:
            stopped = f", stopped {moment(entry.stopped_ms)}" if entry.stopped_ms else ""
            out.print(f"      [dim]{escape(f'{place.target} in {place}{stopped}')}[/]")
        elif spans:
            out.print(f"      [dim]served {escape(_times(spans))}[/]")
        # Where the ledger is shared; one of the project's own moves with it.
        if entry.place not in ("", here) and len({each.place for each in entries}) > 1:
            out.print(f"      [dim]deployed from {escape(describe_place(entry.place))}[/]")
        for move in entry.intent.aliases:
            if move.version != move.before:
                target = move.version or "nothing"
                out.print(f"      {escape(move.model)}@{move.alias} → {target}")
        why = entry.error or entry.intent.reason
        if why:
            out.print(f"[dim]{escape(textwrap.indent(why, ' ' * 6))}[/]")


def _answers(spans: Sequence[Span]) -> str:
    """Say how a revision ended that the ledger would start again; empty if it may answer.

    Of several servers the one of this project counts.
    """
    own = [span for span in spans if not span.elsewhere] or spans
    return own[-1].ended.replace("unknown", "") if own else ""


def _times(spans: Sequence[Span]) -> str:
    """Write the last few stretches of time that a revision answered."""
    ends = {"": "now", "crashed": "a crash", "unknown": "no recorded end"}
    texts = [
        f"{moment(span.start_ms)} to {moment(span.end_ms) if span.end_ms else ends[span.ended]}"
        f"{f' at {span.elsewhere}' if span.elsewhere else ''}"
        for span in spans[-_SPANS:]
    ]
    return ("… " if len(spans) > _SPANS else "") + ", ".join(texts)


def _reward(spec: DeploymentSpec) -> str:
    if spec.reward_range is None:
        return spec.reward
    low, high = spec.reward_range
    return f"{spec.reward} in {low:g}..{high:g}"
