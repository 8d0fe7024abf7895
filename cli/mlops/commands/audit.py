"""`mlops audit`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name
from mlops.commands.command_line import App
from mlops.commands.output import Json, moment, note, plain, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.audit import Entry
    from mlops.audit.verifying import Verification
    from mlops.workflows.auditing import Shown
    from mlops.workflows.replaying import Replay

_HELP = "Audit trail: who changed what, when and why; check that it is whole."
_CODES = {"whole": 0, "damaged": 10, "same": 0, "differs": 10, "unknown": 11}
_STYLES = {
    "whole": "green", "damaged": "red", "same": "green", "differs": "red", "unknown": "yellow",
}  # fmt: skip
# Longest text of a before or after that is shown in full.
_SHORT = 60
# And of anything else; `--json` has the whole.
_LONG = 500

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
            "-n", "--lines", min=0, help="Newest entries, alarms in a row as one; 0 for all."
        ),
    ] = 20,
    action: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD", help="Only entries of this action; repeatable.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show who changed what, in the order of time; `--json` in that of recording.

    For example `mlops audit show wine --action promote`.
    """
    from rich.markup import escape

    from mlops.settings import load_settings
    from mlops.workflows.auditing import show_trail

    found = show_trail(load_settings(), name, last=last, actions=action or ())
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
            metavar="PATH", help="Check an exported trail, by itself.", show_default=False
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Check that no entry was changed, removed or inserted; name the first that was.

    Exit with 0 whole, 10 damaged, 11 not to be compared with MLflow.

    For example `mlops audit verify wine`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.auditing import verify_file
    from mlops.workflows.auditing import verify_trail as check

    if file and name:
        raise UsageError("`--file` is about a file, not a deployment.", hint="Leave NAME out.")
    found = verify_file(Path(file)) if file else check(load_settings(), name)
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
        out.print(f"  [dim]then {_short(answer.logged)}, now {_short(answer.replayed)}[/]")
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
    for entry, *more in runs(entries):
        said = entry.document
        by = said["by"]
        who = "@".join(part for part in (by.get("user", ""), by.get("host", "")) if part)
        out.print(
            f"[dim]{entry.seq:>5}  {said['time'][:19]}Z[/]  "
            f"[bold]{escape(_one_line(said['action']))}[/]  {escape(_one_line(said['subject']))}  "
            f"[dim]{escape(_one_line(who))}[/]"
        )
        if moved.get(entry.seq) == "late":
            out.print(f"[dim]       recorded later, {said['recorded'][:19]}Z[/]")
        elif moved.get(entry.seq) == "clocks":
            out.print("[dim]       recorded after an entry below: clocks of hosts differ[/]")
        for line in _lines(entry, found.arms, found.project):
            # Also what is wrapped is indented: a reason must not look like an entry.
            out.print(Padding(Text(_one_line(line), "dim"), (0, 0, 0, 7)))
        if more:
            out.print(f"[dim]       and {len(more):,} more alarms, `--json` has each[/]")
    if moved:
        out.print("[dim]in the order of time; entries are numbered in the order of recording[/]")
    if len(found.entries) < found.total:
        out.print(f"[dim]{len(found.entries):,} of {found.total:,} entries; `-n 0` shows all[/]")


def _lines(entry: Entry, arms: Mapping[int, Sequence[str]], here: Mapping[str, str]) -> list[str]:
    """Say what changed, and why, in as few words as that takes."""
    said = entry.document
    lines = [f"key {said['by']['key']}"] if "key" in said["by"] else []
    lines += [f"job {said['by']['job']}"] if "job" in said["by"] else []
    before, after = said["before"], said["after"]
    if entry.id.startswith("epoch/"):
        lines.append(_shares(arms.get(int(entry.id.split("/")[1]), ()), before, after))
    elif isinstance(after, dict) and "serves" in after:
        lines.append(after["serves"])
        if rule := after.get("decision_rule"):
            lines.append(f"decision rule: {rule}")
        project = after.get("project") or here
        if project != here:
            lines.append(f"project {project['folder']} on {project['host']}")
    elif isinstance(before, dict) and isinstance(after, dict):
        lines += [
            f"{key}: {_short(before.get(key))} → {_short(after.get(key))}"
            for key in sorted({*before, *after})
            if before.get(key) != after.get(key)
        ]
    elif before is not None:
        lines.append(f"{_short(before)} → {_short(after)}")
    elif isinstance(after, dict) and entry.id.startswith("state/"):
        lines += [f"{key}: {_short(value)}" for key, value in sorted(after.items())]
    evidence = said["evidence"] or {}
    lines += [str(evidence[key]) for key in ("reason", "error") if evidence.get(key)]
    return lines


def _shares(names: Sequence[str], before: Sequence[float] | None, after: Sequence[float]) -> str:
    """Write the shares of a policy epoch in per cent, and those before where they differ.

    >>> _shares(["old", "new"], [0.5, 0.5], [0.05, 0.9500000000000001])
    'old 50 → 5 %, new 50 → 95 %'
    >>> _shares(["old", "new"], [0.05, 0.95], [0.05, 0.9500000000000001])
    'old 5 %, new 95 %, as before'
    """
    new = [f"{100 * share:.4g}" for share in after]
    old = new if before is None else [f"{100 * share:.4g}" for share in before]
    is_same = before is not None and old == new
    if len(names) != len(new):
        names = [f"arm {number}" for number in range(1, len(new) + 1)]
    if len(old) != len(new):
        old = new
    texts = [
        f"{name} {now} %" if was == now else f"{name} {was} → {now} %"
        for name, was, now in zip(names, old, new, strict=True)
    ]
    return ", ".join([*texts, *(["as before"] if is_same else [])])


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


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
