"""`mlops keys`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands import completion
from mlops.commands.command_line import App
from mlops.commands.output import Json, moment, note, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.deployment.keys import Created, Keys
    from mlops.spec.access import Key

app = App(help="API keys of a deployment: create, list, revoke.", no_args_is_help=True)

_Deployment = Annotated[
    str | None,
    typer.Option(
        "--deployment",
        "-d",
        metavar="NAME",
        help="Deployment; may be left out where there is one.",
        show_default=False,
        autocompletion=completion.deployments,
    ),
]


@app.callback()
def _keys() -> None:
    """API keys of a deployment: create, list, revoke."""


@app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")],
    scope: Annotated[
        str,
        typer.Option(
            metavar="SCOPE,…",
            help="What it allows: predict, feedback, read (totals), requests (single ones), "
            "force-arm, score or admin (all).",
        ),
    ],
    deployment: _Deployment = None,
    rate: Annotated[
        str,
        typer.Option(
            metavar="N/s|min|h", help="Requests it may send, as 100/s.", show_default="no limit"
        ),
    ] = "",
    expires: Annotated[
        str, typer.Option(metavar="90d", help="Time until it expires.", show_default="never")
    ] = "",
    subject: Annotated[
        str,
        typer.Option(
            metavar="CN=…|DNS:…|URI:…|*",
            help="Client certificate that gets these scopes; no key is made.",
            show_default=False,
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Create an API key, and print it once; only its hash is kept.

    For example `mlops keys create shop --scope predict,feedback --rate 100/s`.
    """
    from mlops.deployment.keys import create
    from mlops.settings import load_settings

    scopes = [each.strip() for each in scope.split(",") if each.strip()]
    made = create(
        load_settings(), deployment, name, scopes, rate=rate, expires=expires, subject=subject
    )
    show(_created(made), as_json=as_json, render=lambda out: _render_created(out, made))


@app.command("list")
def list_keys(deployment: _Deployment = None, as_json: Json = False) -> None:
    """List the keys of a deployment.

    For example `mlops keys list`.
    """
    from mlops.deployment.keys import listed
    from mlops.settings import load_settings

    found = listed(load_settings(), deployment)
    show(_document(found), as_json=as_json, render=lambda out: _render(out, found))


@app.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(metavar="NAME|ID", help="Name or id of the key.")],
    deployment: _Deployment = None,
    as_json: Json = False,
) -> None:
    """Revoke a key; a running server refuses it within a second.

    For example `mlops keys revoke shop`.
    """
    from mlops.deployment.keys import revoke
    from mlops.settings import load_settings

    found = revoke(load_settings(), deployment, name)
    show(_document(found), as_json=as_json, render=lambda out: _render(out, found))


def _described(key: Key) -> dict[str, object]:
    document: dict[str, object] = plain(key)
    document.pop("digest")
    return document


def _document(found: Keys) -> dict[str, object]:
    return {"deployment": found.deployment, "keys": [_described(key) for key in found.keys]}


def _created(made: Created) -> dict[str, object]:
    return {
        "deployment": made.deployment,
        "key": made.secret,
        **{name: value for name, value in _described(made.key).items() if name != "key"},
    }


def _render_created(out: Console, made: Created) -> None:
    from rich.markup import escape

    key = made.key
    if made.first:
        note(
            "[yellow]warning:[/] this is the first key: from now on every caller needs a key, and "
            "gets 401 without; the commands of this machine send their own, `owner`."
        )
    note(
        f"Key [bold]{escape(key.name)}[/] ({key.id}) of {made.deployment}: "
        f"{', '.join(key.scopes)}{f', {key.rate}' if key.rate else ''}"
        f"{f', until {moment(key.expires_ms)}' if key.expires_ms else ''}"
    )
    if made.secret:
        note("Callers send it as `Authorization: Bearer KEY`. It is shown only once:")
        out.print(made.secret, markup=False, soft_wrap=True, highlight=False)
    if made.in_cluster:
        note(
            f"The pods read keys from a Secret: kubectl create secret generic "
            f"{made.deployment}-keys --from-file=keys.json={escape(made.file)} "
            "--dry-run=client -o yaml | kubectl apply -f -"
        )


def _render(out: Console, found: Keys) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not found.keys:
        out.print(f"[bold]{found.deployment}[/] has no API keys.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "id", "scopes", "rate", "state"):
        table.add_column(column, overflow="fold")
    for key in found.keys:
        name = f"{key.name} ({key.subject})" if key.subject else key.name
        cells = (name, key.id, ", ".join(key.scopes), key.rate or "-", _state(key))
        table.add_row(*map(Text, cells), style="dim" if key.revoked_ms else "")
    out.print(table)


def _state(key: Key) -> str:
    import time

    if key.revoked_ms is not None:
        return f"revoked {moment(key.revoked_ms)[:10]}"
    if key.expires_ms is None:
        return "active"
    over = key.expires_ms <= time.time() * 1000
    return f"{'expired' if over else 'expires'} {moment(key.expires_ms)[:10]}"
