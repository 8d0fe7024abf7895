"""`mlops models`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands import completion, transfers
from mlops.commands.arguments import Trust
from mlops.commands.command_line import App
from mlops.commands.model_tables import gate_tables, pairs, versions_table
from mlops.commands.output import Json, age, next_steps, plain, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    import datetime as dt

    from rich.console import Console

    from mlops.registry.aliases import AliasChange
    from mlops.registry.details import Column
    from mlops.registry.models import Model, RunFacts
    from mlops.training.registration import Registered

_GATE = "Decide"

app = App(
    help="Registered models: list, show, compare, register, alias, push, pull.",
    no_args_is_help=True,
)

_REF = "For example wine, wine/3, wine@champion, runs:/ID/model or ./folder."
All = Annotated[
    bool, typer.Option("--all", help="Show every parameter and metric.", rich_help_panel="Output")
]
Ref = Annotated[str, typer.Argument(metavar="REF", help=_REF, autocompletion=completion.refs)]


@app.command("list")
def list_models(
    name: Annotated[
        str,
        typer.Argument(
            help="Only the versions of this model.",
            show_default=False,
            autocompletion=completion.models,
        ),
    ] = "",
    every: All = False,
    as_json: Json = False,
) -> None:
    """List registered versions, newest first.

    For example `mlops models list wine`.
    """
    from mlops.registry.models import list_versions
    from mlops.settings import load_settings

    found = list_versions(load_settings(), name)
    show(
        {"models": found},
        as_json=as_json,
        render=lambda out: versions_table(out, found, every=every),
    )


@app.command("show")
def show_model(ref: Ref, as_json: Json = False) -> None:
    """Show one model: metrics, parameters, signature, requirements.

    For example `mlops models show wine@champion`.
    """
    from mlops.registry.models import show_model as read_model
    from mlops.settings import load_settings

    model = read_model(load_settings(), ref)
    show(plain(model), as_json=as_json, render=lambda out: _render_model(out, model))


@app.command("compare")
def compare(
    refs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF", help=_REF, show_default=False, autocompletion=completion.refs
        ),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            metavar="REF",
            autocompletion=completion.refs,
            help="Baseline; REF defaults to the newest version.",
            show_default=False,
            rich_help_panel=_GATE,
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Table that all models predict, as CSV or Parquet.",
            show_default=False,
            rich_help_panel=_GATE,
        ),
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Column of FILE with the label.",
            show_default=False,
            rich_help_panel=_GATE,
        ),
    ] = "",
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--max-regression",
            metavar="METRIC=AMOUNT",
            help="Exit with 1 if a model is worse by more, for example rmse=1%. Repeatable.",
            rich_help_panel=_GATE,
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Pass while there is no baseline.", rich_help_panel=_GATE
        ),
    ] = False,
    trust: Trust = False,
    every: All = False,
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown", help="Print it as Markdown, for a CI job.", rich_help_panel="Output"
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare models: metrics, then what differs, against the first or --against.

    For example `mlops models compare wine/1 wine/2`, or as a gate in CI:
    `mlops models compare wine --against champion --data held-out.csv --target quality
    --max-regression rmse=1%`.
    """
    from mlops.commands.markdown import gate_markdown
    from mlops.registry.gate import CompareRequest, run_gate
    from mlops.settings import load_settings

    request = CompareRequest(
        tuple(refs or ()), against, data, target, tuple(limits or ()), allow_missing
    )
    if markdown and as_json:
        raise UsageError("`--markdown` and `--json` both want stdout.", hint="Say one of them.")
    found = run_gate(load_settings(flags={"artifacts.trust": trust or None}), request)
    document = {**plain(found.comparison), **plain(found)}
    del document["comparison"]
    if markdown:
        typer.echo(gate_markdown(found), nl=False)
    else:
        show(document, as_json=as_json, render=lambda out: gate_tables(out, found, every=every))
    if found.passed is False:
        raise typer.Exit(1)


@app.command("register")
def register(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run that logged it.")],
    model: Annotated[
        str, typer.Option(help="Which of its models, if it logged several.", show_default=False)
    ] = "",
    name: Annotated[
        str, typer.Option(help="Registered model.", show_default="the project's name")
    ] = "",
    aliases: Annotated[
        list[str] | None, typer.Option("--alias", help="Alias of the version; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a model that a run logged, without training again.

    For example `mlops models register 4d8765b374f6449cb0768a2c8a99868e --model forest --alias
    candidate`. What is registered already stays the version it is.
    """
    from mlops.settings import load_settings
    from mlops.training.registration import register_finished

    made = register_finished(load_settings(), run, model, name, tuple(aliases or ()))
    document = {"model": plain(made.model), "next_commands": list(made.next_commands)}
    show(document, as_json=as_json, render=lambda out: _render_registered(out, made))


@app.command("alias")
def alias(
    ref: Ref,
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="For example champion.")],
    delete: Annotated[bool, typer.Option("--delete", help="Remove the alias instead.")] = False,
    as_json: Json = False,
) -> None:
    """Set or remove the alias of a version.

    For example `mlops models alias wine/3 champion`.
    """
    from mlops.registry.aliases import change_alias
    from mlops.settings import load_settings

    change = change_alias(load_settings(), ref, name, delete=delete)
    show(plain(change), as_json=as_json, render=lambda out: _render_alias(out, change))


app.command("push")(transfers.push)
app.command("pull")(transfers.pull)


def _render_model(out: Console, model: Model) -> None:
    from rich.markup import escape
    from rich.table import Table

    version, details, run = model.version, model.details, model.run
    chosen = f" [dim]({version.chosen_by})[/]" if version.chosen_by else ""
    aliases = "".join(f" [cyan]@{alias}[/]" for alias in model.aliases)
    out.print(f"[bold green]{escape(version.label)}[/]{aliases}{chosen}")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    if run is not None:
        facts.add_row("run", f"{run.run_id} [dim]{escape(run.name)}, {run.status}[/]")
        facts.add_row("parameters", escape(_params(run)))
        facts.add_row("metrics", escape(_metrics(run)))
        facts.add_row("data", escape(pairs(run.datasets)))
    facts.add_row("created", _time(details.created) + " UTC" if details.created else "")
    facts.add_row("flavours", ", ".join(details.flavours))
    facts.add_row("size", _size(details.size_bytes))
    facts.add_row("inputs", escape(_columns(details.inputs)))
    facts.add_row("outputs", escape(_columns(details.outputs)))
    facts.add_row(
        "trained with", escape(" ".join([f"python=={details.python}", *details.requirements]))
    )
    facts.add_row("source", escape(version.source))
    for record in model.pushed:
        facts.add_row("pushed to", f"{escape(record.uri)} [dim]{age(record.pushed_ms)}[/]")
    out.print(facts)


def _render_registered(out: Console, made: Registered) -> None:
    from rich.markup import escape

    assert made.model is not None
    out.print(f"[bold green]{escape(made.model.label)}[/]")
    next_steps(out, made.next_commands)


def _render_alias(out: Console, change: AliasChange) -> None:
    from rich.markup import escape

    model = escape(change.model)
    name = f"[cyan]{model}@{escape(change.alias)}[/]"
    if not change.version:
        out.print(f"{name} is gone; it was [bold]{model}/{change.before}[/]")
    elif change.before == change.version:
        out.print(f"{name} is [bold]{model}/{change.version}[/] already")
    else:
        was = f" [dim](was version {change.before})[/]" if change.before else ""
        out.print(f"{name} is [bold]{model}/{change.version}[/]{was}")


def _time(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


def _params(run: RunFacts | None) -> str:
    return pairs(run.params) if run is not None else ""


def _metrics(run: RunFacts | None) -> str:
    return pairs({n: f"{v:.4g}" for n, v in run.metrics.items()}) if run is not None else ""


def _columns(columns: Sequence[Column]) -> str:
    texts = [f"{column.name or 'unnamed'}: {column.type}" for column in columns]
    return ", ".join(texts) or "no signature"


def _size(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1000:,.1f} kB"
