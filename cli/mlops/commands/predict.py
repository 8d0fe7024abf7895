"""`mlops predict`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name, Remote, takes_remote
from mlops.commands.output import Json, next_steps, note, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workflows.prediction import Predicted


@takes_remote(foreign=True)
def predict(
    data: Annotated[
        str,
        typer.Option(
            "--data", metavar="FILE|-", help="CSV, JSON, NDJSON or Parquet; - for standard input."
        ),
    ],
    name: Name = None,
    arm: Annotated[
        str,
        typer.Option(
            help="Arm to use; the request is left out of the statistics.", show_default=False
        ),
    ] = "",
    client_id: Annotated[
        str,
        typer.Option(
            help="Your own id of the request, such as an order number; feedback may name it.",
            show_default=False,
        ),
    ] = "",
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Request predictions from a deployment.

    For example `mlops predict --data rows.csv`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.prediction import predict as ask
    from mlops.workflows.prediction import read_data

    rows = read_data(data)
    answer = ask(load_settings(), name, rows, arm=arm, client_id=client_id, remote=remote)
    show(plain(answer), as_json=as_json, render=lambda out: _render(out, answer))


def _render(out: Console, answer: Predicted) -> None:
    for value in answer.predictions:
        text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
        out.print(text, markup=False)
    note(f"[dim]{_source(answer)}[/]")
    if len(answer.predictions) == 1 and (answer.revision or answer.response):
        from mlops.commands.output import console

        next_steps(console(stderr=True), [_feedback(answer)])


def _source(answer: Predicted) -> str:
    said = {"arm": answer.arm, "revision": answer.revision, "request": answer.request_id}
    return ", ".join(f"{name} {value}" for name, value in said.items() if value) or answer.name


def _feedback(answer: Predicted) -> str:
    """Say how to send feedback on the answer."""
    from mlops.rewards.sending import can_replay

    if answer.response is not None:
        return f"mlops feedback --url {answer.name} --response FILE --truth VALUE"
    where = f"--url {answer.name}" if "://" in answer.name else answer.name
    value = "--truth VALUE" if can_replay(answer.reward_name) else "--reward NUMBER"
    return f"mlops feedback {where} --request-id {answer.request_id} {value}"
