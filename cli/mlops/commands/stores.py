"""`mlops stores`."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.commands import completion
from mlops.commands.command_line import App
from mlops.commands.doctor import show_checks
from mlops.commands.output import Json, console, next_steps, note, plain, show

app = App(help="Artifact stores: check, secret.", no_args_is_help=True)


@app.callback()
def _stores() -> None:
    """Artifact stores: check, secret."""


@app.command("check")
def check(
    uris: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[URI…]", help="Other stores to try, for example s3://bucket/models."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put, get, list and delete a small file in the project's store, and time each.

    For example `mlops stores check s3://bucket/wine`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.doctor import check_stores

    show_checks(check_stores(load_settings(), uris or ()), as_json=as_json)


@app.command("secret")
def secret(
    platform: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="PLATFORM",
            help="Target platform: kserve, seldon, seldon2 or kubernetes.",
            autocompletion=completion.one_of("kserve", "seldon", "seldon2", "kubernetes"),
        ),
    ],
    with_values: Annotated[
        bool,
        typer.Option(
            "--with-values",
            help="Include the credentials, from where `credentials` of [artifacts] says.",
        ),
    ] = False,
    store: Annotated[
        str, typer.Option(metavar="URI", help="Store, instead of the project's.")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the Secret.", show_default=False)] = "",
    namespace: Annotated[str, typer.Option(help="Its namespace.", show_default=False)] = "",
    as_json: Json = False,
) -> None:
    """Print the Secret by which a platform reaches the project's store.

    Without `--with-values` its values are empty. For example
    `mlops stores secret --for kserve --with-values | kubectl apply -f -`.
    """
    from rich.markup import escape

    from mlops.deployment.store_secret import store_secret
    from mlops.settings import load_settings

    made = store_secret(
        load_settings(),
        platform,
        name=name,
        namespace=namespace,
        store=store,
        with_values=with_values,
    )
    for line in made.notes:
        note(f"[yellow]note:[/] {escape(line)}")
    if as_json:
        show(plain(made), as_json=True)
        return
    typer.echo(made.manifest, nl=False)
    next_steps(console(stderr=True), made.next_commands)
