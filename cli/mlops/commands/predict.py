"""`mlops predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name
from mlops.commands.output import Json, next_steps, note, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workflows.prediction import Predicted


def predict(
    data: Annotated[
        typer.FileText,
        typer.Option("--data", help="CSV with a header, or JSON; - for standard input."),
    ],
    name: Name = None,
    arm: Annotated[
        str, typer.Option(help="Force this arm; kept out of the statistics.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """Ask a deployment for predictions."""
    from mlops.settings import load_settings
    from mlops.workflows.prediction import predict as ask

    answer = ask(load_settings(), name, data.read(), arm=arm)
    show(plain(answer), as_json=as_json, render=lambda out: _render(out, answer))


def _render(out: Console, answer: Predicted) -> None:
    for value in answer.predictions:
        out.print(value if isinstance(value, str) else f"{value}", markup=False)
    note(f"[dim]arm {answer.arm}, revision {answer.revision}, request {answer.request_id}[/]")
    if len(answer.predictions) == 1:
        from mlops.commands.output import console

        command = f"mlops feedback {answer.name} --request-id {answer.request_id} --truth VALUE"
        next_steps(console(stderr=True), [command])
