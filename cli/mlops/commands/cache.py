"""`mlops cache`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops.commands.arguments import DryRun
from mlops.commands.command_line import App
from mlops.commands.output import Json, age, in_bytes, plain, plain_table, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.registry.cache import Cache, Cached, Removed
    from mlops.runtimes.kept import Entry

app = App(
    help="Downloaded models, and runtimes proved for them: list, prune, clear.",
    no_args_is_help=True,
)


@app.command("list")
def list_cache(as_json: Json = False) -> None:
    """List the models in the cache, and the runtimes, most recently used first."""
    from mlops.registry.cache import open_cache
    from mlops.runtimes.kept import runtimes_of
    from mlops.settings import load_settings

    settings = load_settings()
    cache = open_cache(settings)
    models, runtimes = cache.models(), runtimes_of(settings.home).entries()
    document = {
        "folder": cache.folder,
        "size": sum(model.size for model in models),
        "max_size": cache.max_bytes,
        "models": models,
        "runtimes": plain(runtimes),
    }
    show(document, as_json=as_json, render=lambda out: _render(out, cache, models, runtimes))


@app.command()
def prune(dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove the least recently used models beyond `max_mb`, and broken downloads.

    What a running server uses stays, whatever its size, and so does what is kept for a deployment.
    Of proved runtimes 100 are kept.
    """
    _remove(everything=False, dry_run=dry_run, as_json=as_json)


@app.command()
def clear(dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove everything that no running server uses and that is not kept for a deployment."""
    _remove(everything=True, dry_run=dry_run, as_json=as_json)


def _remove(*, everything: bool, dry_run: bool, as_json: bool) -> None:
    from mlops.registry.cache import open_cache
    from mlops.runtimes.kept import runtimes_of
    from mlops.settings import load_settings

    settings = load_settings()
    removed = open_cache(settings).prune(everything=everything, dry_run=dry_run)
    known = runtimes_of(settings.home)
    runtimes = known.clear(dry_run=dry_run) if everything else []
    document = {
        "models": removed.models,
        "parts": removed.parts,
        "runtimes": plain(runtimes),
        "freed": removed.freed + sum(each.size for each in runtimes),
        "left": removed.left,
        "done": not dry_run,
    }
    show(
        document,
        as_json=as_json,
        render=lambda out: _render_removed(out, removed, runtimes, dry_run),
    )


def _render(
    out: Console, cache: Cache, models: Sequence[Cached], runtimes: Sequence[Entry]
) -> None:
    from rich.markup import escape

    size = sum(model.size for model in models)
    if models:
        table = plain_table()
        table.add_column("MODEL", no_wrap=True, style="bold")
        table.add_column("SIZE", justify="right", no_wrap=True)
        table.add_column("USED", no_wrap=True)
        table.add_column("KEPT FOR", overflow="fold")
        table.add_column("FROM", overflow="fold")
        for model in models:
            used = "now" if model.in_use else age(model.used_ms)
            kept, sources = ", ".join(model.kept_for), "\n".join(model.sources)
            table.add_row(_short(model), in_bytes(model.size), used, kept, sources)
        out.print(table)
    out.print(
        f"[dim]{len(models)} models, {in_bytes(size)} of at most {in_bytes(cache.max_bytes)}, "
        f"in {cache.folder}[/]",
        soft_wrap=True,
    )
    for each in runtimes:
        out.print(
            f"[dim]runtime[/] {each.runtime}  {in_bytes(each.size)}  proved {age(each.made_ms)}, "
            f"used {age(each.used_ms)}  [dim]{escape(each.model)}[/]",
            soft_wrap=True,
        )


def _render_removed(
    out: Console, removed: Removed, runtimes: Sequence[Entry], dry_run: bool
) -> None:
    for model in removed.models:
        out.print(f"[red]-[/] {_short(model)}  {in_bytes(model.size)}")
    for part in removed.parts:
        out.print(f"[red]-[/] an interrupted download  [dim]{part.name}[/]")
    for each in runtimes:
        out.print(f"[red]-[/] runtime {each.runtime}  {in_bytes(each.size)}  [dim]{each.key}[/]")
    says = "would be freed" if dry_run else "freed"
    freed = removed.freed + sum(each.size for each in runtimes)
    out.print(f"{in_bytes(freed)} {says}, {in_bytes(removed.left)} stay")


def _short(model: Cached) -> str:
    return model.digest.removeprefix("sha256:")[:12]
