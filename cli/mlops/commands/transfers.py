"""`mlops models push` and `mlops models pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands import completion
from mlops.commands.arguments import DryRun
from mlops.commands.output import Json, in_bytes, next_steps, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.registry.pull import Pull
    from mlops.registry.push import Push

_PUSHED = {
    "create": "is now at",
    "resume": "is now at",
    "replace": "is now at",
    "mend": "is repaired at",
    "nothing": "is at",
}


def push(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="The model, for example wine, wine/3 or ./folder.",
            autocompletion=completion.refs,
        ),
    ],
    uri: Annotated[str, typer.Argument(metavar="URI", help="Target: s3://…, gs://…, or a path.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace another model that is there.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Copy a model to a stable URI; what is there already is not sent again.

    An interrupted push resumes where it stopped, and is never taken for a whole model.

    For example `mlops models push wine/3 s3://bucket/wine`.
    """
    from mlops.commands.progress import TransferProgress
    from mlops.registry.push import push as push_model
    from mlops.settings import load_settings

    with TransferProgress() as progress:
        result = push_model(
            load_settings(),
            ref,
            uri,
            force=force,
            dry_run=dry_run,
            say=progress.phase,
            show=progress.update,
        )
    show(plain(result), as_json=as_json, render=lambda out: _render_push(out, result))


def pull(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF|URI",
            autocompletion=completion.refs,
            help="For example wine/3, s3://bucket/wine or ./folder.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Target folder.", show_default="named after the model"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another model that is there.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Copy a model into a folder, which appears complete or not at all."""
    from mlops.commands.progress import TransferProgress
    from mlops.registry.pull import pull as pull_model
    from mlops.settings import load_settings

    with TransferProgress() as progress:
        result = pull_model(
            load_settings(),
            ref,
            folder,
            force=force,
            dry_run=dry_run,
            say=progress.phase,
            show=progress.update,
        )
    show(plain(result), as_json=as_json, render=lambda out: _render_pull(out, result))


def _render_push(out: Console, result: Push) -> None:
    from rich.markup import escape

    says = _PUSHED[result.change] if result.done else "would be pushed to"
    if result.change == "nothing":
        says = "is at"
    out.print(f"[bold green]{escape(result.model)}[/] {says} [bold]{escape(result.uri)}[/]")
    rest = result.files - result.transferred
    sent = f"{result.transferred} ({in_bytes(result.transferred_size)})"
    to_do = "transferred" if result.done else "to transfer"
    out.print(
        f"[dim]{result.files} files, {in_bytes(result.size)}: {sent} {to_do}, "
        f"{rest} there already; {_short(result.digest)}[/]"
    )
    if result.done:
        next_steps(out, [f"mlops deploy --model {result.uri}"])


def _render_pull(out: Console, result: Pull) -> None:
    from rich.markup import escape

    name, folder = escape(result.model), escape(str(result.folder))
    if not result.done:
        again = ", replacing what is there" if result.change == "replace" else ""
        out.print(f"[bold green]{name}[/] would be copied to [bold]{folder}[/]{again}")
        return
    says = "is in" if result.change == "nothing" else "is now in"
    out.print(f"[bold green]{name}[/] {says} [bold]{folder}[/]")
    out.print(f"[dim]{result.files} files, {in_bytes(result.size)}; {_short(result.digest)}[/]")
    next_steps(out, [f"mlops deploy --model {result.folder}"])


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]
