"""`mlops audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name
from mlops.commands.audit_entries import entry_lines, one_line, run_lines, short
from mlops.commands.command_line import App
from mlops.commands.output import Json, moment, note, plain, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.audit.verifying import Verification
    from mlops.workflows.auditing import Shown
    from mlops.workflows.replaying import Replay

_HELP = "Audit trail: who changed what, when and why; check that it is whole."
_CODES = {"whole": 0, "damaged": 10, "same": 0, "differs": 10, "unknown": 11}
_STYLES = {
    "whole": "green", "damaged": "red", "same": "green", "differs": "red", "unknown": "yellow",
}  # fmt: skip

app = App(help=_HELP, no_args_is_help=True)


@app.callback()
def _audit() -> None:
    """Audit trail: who changed what, when and why; check that it is whole."""


@app.command("show")
def show_entries(
    name: Name = None,
    last: Annotated[
        int,
        typer.Option(
            "-n",
            "--lines",
            min=0,
            help="Newest entries, alarms or policy epochs in a row as one; 0 for all.",
        ),
    ] = 20,
    action: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD",
            help="Only entries of this action, such as promote or policy; repeatable.",
            show_default=False,
        ),
    ] = None,
    people: Annotated[
        bool, typer.Option("--people", help="Only what people and their jobs did.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show who changed what, in the order of time; `--json` in that of recording.

    For example `mlops audit show wine --action promote`.
    """
    from rich.markup import escape

    from mlops.settings import load_settings
    from mlops.workflows.auditing import show_trail

    found = show_trail(load_settings(), name, last=last, actions=action or (), people=people)
    for fault in found.faults:
        note(f"[yellow]the newest changes may be missing:[/] {escape(fault)}")
    document = {
        "name": found.name,
        "total": found.total,
        "entries": [{**each.document, "hash": each.hash} for each in found.entries],
        "faults": plain(found.faults),
    }
    show(document, as_json=as_json, render=lambda out: _render(out, found))


@app.command("verify")
def verify_trail(
    name: Name = None,
    file: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Check an exported trail: by itself, or with NAME against MLflow.",
            show_default=False,
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Check that no entry was changed, removed or inserted; name the first that was.

    Exit with 0 whole, 10 damaged, 11 whole as far as it goes, and not confirmed by MLflow.

    For example `mlops audit verify wine`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.auditing import verify_file
    from mlops.workflows.auditing import verify_trail as check

    if file:
        # By itself a copy is checked wherever it is, also where no project is or its file is wrong.
        found = verify_file(load_settings() if name else None, Path(file), name)
    else:
        found = check(load_settings(), name)
    show(plain(found), as_json=as_json, render=lambda out: _render_checked(out, found))
    raise typer.Exit(_CODES[found.result])


@app.command("export")
def export(
    name: Name = None,
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="FILE|-", help="Where to write; - is standard output."),
    ] = "-",
    as_json: Json = False,
) -> None:
    """Copy the trail, one JSON document a line, as `mlops audit verify --file` checks it.

    For example `mlops audit export wine --out wine-audit.jsonl`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.auditing import export_trail

    if as_json and out == "-":
        raise UsageError("`--json` and the trail both want stdout.", hint="`--out FILE`")
    found = export_trail(load_settings(), name, out)
    if out != "-":
        show(
            plain(found),
            as_json=as_json,
            render=lambda out: out.print(f"{found.entries:,} entries in {found.out}", markup=False),
        )


@app.command("replay")
def replay_request(
    name: Name = None,
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="X-Mlops-Request-Id of the prediction.")
    ] = "",
    unit: Annotated[
        str,
        typer.Option(
            metavar="VALUE",
            help="Value of the sticky header or field, to be compared with its hash.",
            show_default=False,
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Predict again with the model as it was, and recompute why that arm was chosen.

    Runs the model's code. Exit with 0 same, 10 different, 11 not known.

    For example `mlops audit replay --request-id ID`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.workflows.replaying import replay

    if not request_id:
        raise UsageError("Say which request.", hint="`--request-id ID`")
    with PhaseProgress() as progress:
        progress.phase("Predicting again")
        found = replay(load_settings(), name, request_id, unit)
    show(plain(found), as_json=as_json, render=lambda out: _render_replay(out, found))
    raise typer.Exit(_CODES[found.result])


def _render_replay(out: Console, found: Replay) -> None:
    from rich.markup import escape

    answer, choice = found.answer, found.choice
    out.print(
        f"[bold]{escape(found.name)}[/] [{_STYLES[found.result]}]{found.result}[/]  "
        f"{moment(found.time_ms)}  revision {found.revision}  "
        f"{escape(found.arm)} ({escape(answer.model)})"
    )
    rows = [("answer", answer.result, answer.reason), ("arm", choice.result, choice.reason)]
    for title, result, reason in rows:
        out.print(f"  {title:<7} [{_STYLES[result]}]{result:<8}[/] {escape(reason)}")
    if answer.result == "differs":
        out.print(f"  [dim]then {short(answer.logged)}, now {short(answer.replayed)}[/]")
    if answer.content_then:
        checked = ", the same now" if answer.content == answer.content_then else ""
        out.print(f"  [dim]files of the model {escape(answer.content_then)}{checked}[/]")
    elif answer.content:
        out.print("  [yellow]the digest of the model at that time was not recorded[/]")
    if choice.how:
        share = f"propensity {choice.propensity:.6g}" if choice.propensity else "forced"
        out.print(f"  [dim]{share}, policy epoch {choice.epoch}[/]")
    if found.key_id:
        out.print(f"  [dim]sent with the key {escape(found.key_id)}[/]")


def _render(out: Console, found: Shown) -> None:
    from rich.markup import escape
    from rich.padding import Padding
    from rich.text import Text

    from mlops.workflows.auditing import by_time, runs

    entries, moved = by_time(found.entries)
    for entry, *more in runs(entries, epochs=not found.each_epoch):
        said = entry.document
        by = said["by"]
        who = "@".join(part for part in (by.get("user", ""), by.get("host", "")) if part)
        out.print(
            f"[dim]{entry.seq:>5}  {said['time'][:19]}Z[/]  "
            f"[bold]{escape(one_line(said['action']))}[/]  {escape(one_line(said['subject']))}  "
            f"[dim]{escape(one_line(who))}[/]"
        )
        if moved.get(entry.seq) == "late":
            out.print(f"[dim]       recorded later, {said['recorded'][:19]}Z[/]")
        elif moved.get(entry.seq) == "clocks":
            out.print("[dim]       recorded after an entry below: clocks of hosts differ[/]")
        for line in run_lines(entry, more, found) if more else entry_lines(entry, found):
            # Also what is wrapped is indented: a reason must not look like an entry.
            out.print(Padding(Text(one_line(line), "dim"), (0, 0, 0, 7)))
    if moved:
        out.print("[dim]in the order of time; entries are numbered in the order of recording[/]")
    if len(found.entries) < found.total:
        out.print(f"[dim]{len(found.entries):,} of {found.total:,} entries; `-n 0` shows all[/]")


def _render_checked(out: Console, found: Verification) -> None:
    from rich.markup import escape

    style = _STYLES[found.result]
    out.print(
        f"[bold]{escape(found.name)}[/] [{style}]{found.result}[/]  {found.entries:,} entries"
    )
    for fault in found.faults:
        where = f"entry {fault.seq}: " if fault.seq else ""
        out.print(f"  [red]{where}{escape(fault.message)}[/]")
    if found.head:
        out.print(f"  [dim]head {found.head}[/]")
    if found.anchored:
        out.print(f"  [dim]MLflow confirms it up to entry {found.anchored:,}[/]")
    for text in found.notes:
        out.print(f"  [yellow]{escape(text)}[/]")
