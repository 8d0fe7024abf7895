"""`mlops journal`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlops.commands.arguments import Name
from mlops.commands.command_line import App
from mlops.commands.output import Json, moment, plain, show
from mlops.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.deployment.archiving import Archived
    from mlops.deployment.pruning import Pruned
    from mlops.workflows.forgetting import Forgotten
    from mlops.workflows.journal_export import Exported
    from mlops.workflows.log_export import LogExported
    from mlops.workflows.voiding import Voided

app = App(
    help="Journal of decisions and outcomes: archive, export, forget, prune.", no_args_is_help=True
)


@app.callback()
def _journal() -> None:
    """Journal of decisions and outcomes: archive, export, forget, prune."""


@app.command("prune")
def prune_journal(
    name: Name = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            min=0,
            help="Age of the requests; [journal] retention_days by default.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count them and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Forget the features of old requests, which cannot be undone; every statistic stays.

    For example `mlops journal prune --older-than 30`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.deployment.pruning import prune
    from mlops.settings import load_settings

    settings = load_settings()
    with PhaseProgress() as progress:
        found = prune(
            settings,
            name,
            older_than,
            dry_run=dry_run,
            on_progress=lambda count: progress.phase(f"Forgot the features of {count:,} requests"),
        )
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found))


@app.command("archive")
def archive_journal(
    name: Name = None,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="Age of the requests.")
    ] = 90,
    to: Annotated[
        str,
        typer.Option(
            metavar="URI",
            help="Folder, s3:// or gs:// place for archives.",
            show_default="`journal` in [artifacts] root",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count them and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Move old requests and their outcomes to the artifact store; every report stays the same.

    For example `mlops journal archive --older-than 30`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.deployment.archiving import archive
    from mlops.settings import load_settings

    with PhaseProgress() as progress:
        found = archive(
            load_settings(),
            name,
            older_than,
            to,
            dry_run=dry_run,
            on_progress=lambda count: progress.phase(f"Archived {count:,} requests"),
        )
    show(plain(found), as_json=as_json, render=lambda out: _render_archive(out, found))


@app.command("export")
def export(
    name: Name = None,
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="FILE|-", help="Where to write; - is standard output."),
    ] = "-",
    form: Annotated[
        Literal["csv", "json", "parquet"] | None,
        typer.Option("--format", help="Form; by default as FILE ends.", show_default="csv"),
    ] = None,
    sink: Annotated[
        str,
        typer.Option(
            metavar="SINK", help="Send everything to a sink of [log] instead.", show_default=False
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Write decisions joined with their outcomes as a table, one line per row of a request.

    To a folder, as `log/` or `s3://bucket/log`, it writes Parquet by the hour, as a sink does.

    For example `mlops journal export --out wine.parquet`.
    """
    from mlops.commands.progress import CountProgress
    from mlops.settings import load_settings
    from mlops.workflows.journal_export import export_journal
    from mlops.workflows.log_export import export_log, is_folder

    if sink and (form or out != "-"):
        raise UsageError("`--sink` says where to write and how.", hint="leave `--out` out")
    if sink or is_folder(out):
        if form not in (None, "parquet"):
            raise UsageError(f"A folder gets Parquet, not {form}.", hint="name a file")
        with CountProgress("events") as progress:
            sent = export_log(load_settings(), name, sink, out, progress.update)
        show(plain(sent), as_json=as_json, render=lambda out: _render_log(out, sent))
        return
    if as_json and out == "-":
        raise UsageError("`--json` and the table both want stdout.", hint="`--out FILE`")
    with CountProgress("lines") as progress:
        found = export_journal(load_settings(), name, out, form, progress.update)
    if out != "-":
        show(plain(found), as_json=as_json, render=lambda out: _render_export(out, found))


@app.command("forget")
def forget(
    unit: Annotated[
        list[str],
        typer.Option(
            metavar="ID", help="Sticky unit, as callers send it; repeatable.", show_default=False
        ),
    ],
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Forget the features of sticky units wherever they are stored, which cannot be undone.

    For example `mlops journal forget --unit customer-4711`. It says what it cannot reach. Where a
    unit has no request, the exit code is 5.
    """
    from mlops.settings import load_settings
    from mlops.workflows.forgetting import forget_units

    found = forget_units(load_settings(), name, unit)
    show(plain(found), as_json=as_json, render=lambda out: _render_forgotten(out, found))
    if found.not_found:
        raise typer.Exit(NotFoundError.exit_code)


@app.command("void")
def void_outcomes(
    name: Name = None,
    request_id: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Request whose outcomes to void; repeatable.", show_default=False
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; it stays in the journal.", show_default=False)
    ] = "",
    listed: Annotated[
        bool, typer.Option("--list", help="Show what is void and why; change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Leave wrong outcomes out of every report; they stay in the journal, with the reason.

    For example `mlops journal void --request-id ID --reason "test traffic"`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.voiding import void

    if listed == bool(request_id):
        raise UsageError(
            "Say which outcomes to void, or ask what is void.",
            hint="`--request-id ID`, or `--list`",
        )
    found = void(load_settings(), name, request_id or (), reason)
    show(plain(found), as_json=as_json, render=lambda out: _render_void(out, found))


def _render_archive(out: Console, found: Archived) -> None:
    from rich.markup import escape

    words = "would be archived" if found.dry_run else "are archived now"
    out.print(
        f"[bold]{found.name}[/]: {found.requests:,} requests from before "
        f"{moment(found.before_ms)} {words}"
    )
    if not found.dry_run:
        out.print(f"with {found.outcomes:,} outcomes; {found.archived:,} requests in all")
    elif found.requests:
        out.print(f"with {found.outcomes:,} outcomes, in {found.parts:,} parts")
    if found.left:
        out.print(
            f"[yellow]rows of {found.left:,} archived parts are still in the database; run the "
            "command again when no report is running[/]"
        )
    out.print(escape(found.location), soft_wrap=True)
    _render_size(out, found, changed=bool(found.requests) and not found.dry_run)


def _render_size(out: Console, found: Archived | Pruned, *, changed: bool) -> None:
    before, after = found.bytes_before / 1e6, found.bytes_after / 1e6
    if found.kept_space and not changed:
        out.print(f"[dim]the journal takes {after:,.1f} MB[/]")
    else:
        out.print(f"[dim]the journal takes {after:,.1f} MB; it took {before:,.1f} MB[/]")
    if found.kept_space and changed:
        out.print("[dim]the space is kept for new requests[/]")


def _render_void(out: Console, found: Voided) -> None:
    from rich.markup import escape

    if found.outcomes:
        out.print(f"[bold]{found.name}[/]: {found.outcomes:,} outcomes do not count any more.")
        return
    if not found.voids:
        out.print(f"[bold]{found.name}[/]: no outcome is void.")
    for each in found.voids:
        out.print(
            f"{moment(each.time_ms)}  revision {each.revision}  {each.outcomes:,} outcomes  "
            f"by {escape(each.by)}: {escape(each.reason)}"
        )


def _render_forgotten(out: Console, found: Forgotten) -> None:
    from rich.markup import escape

    count = found.units - len(found.not_found)
    units = "1 unit" if count == 1 else f"{count:,} units"
    out.print(f"[bold]{found.name}[/]: the features of {units} are gone")
    out.print(f"  journal and archive: {found.requests:,} requests")
    for unit in found.not_found:
        out.print(f"[yellow]  no request of the unit {escape(unit)} was found[/]", soft_wrap=True)
    for each in found.sinks:
        if each.requests is not None:
            out.print(f"  sink {escape(each.sink)}: {each.requests:,} requests")
    for text in found.stays:
        out.print(f"[dim]  kept: {escape(text)}[/]", soft_wrap=True)
    for text in found.not_reached:
        out.print(f"[yellow]  not reached: {escape(text)}[/]", soft_wrap=True)


def _render_log(out: Console, sent: LogExported) -> None:
    from rich.markup import escape

    left = f", {sent.dropped:,} left out" if sent.dropped else ""
    out.print(
        f"[bold]{sent.name}[/]: {sent.requests:,} requests and {sent.outcomes:,} outcomes{left}"
    )
    out.print(escape(sent.to), soft_wrap=True)
    if sent.warning:
        out.print(f"[yellow]note: {escape(sent.warning)}[/]")


def _render_export(out: Console, found: Exported) -> None:
    from rich.markup import escape

    out.print(f"[bold]{found.name}[/]: {found.lines:,} lines of {len(found.columns)} columns")
    out.print(escape(found.out), soft_wrap=True)


def _render(out: Console, found: Pruned) -> None:
    words = "would lose their features" if found.dry_run else "have lost their features"
    out.print(
        f"[bold]{found.name}[/]: {found.requests:,} requests from before "
        f"{moment(found.before_ms)} {words}"
    )
    _render_size(out, found, changed=bool(found.requests) and not found.dry_run)
