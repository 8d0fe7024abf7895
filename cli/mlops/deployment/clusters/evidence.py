"""Whether the journal of a deployment on a cluster can be read from here."""

from __future__ import annotations

from mlops.deployment.clusters.urls import is_ours, port_forward
from mlops.errors import ConflictError, NotFoundError
from mlops.settings.schema import JournalSettings
from mlops.spec.place import Place


def check_journal(own: JournalSettings, name: str, place: Place) -> None:
    """Refuse to read a journal that is not here.

    Raises:
        ConflictError: The platform keeps no evidence.
        NotFoundError: It is in the pod, or the settings do not say where.
    """
    if not is_ours(place):
        raise ConflictError(
            f"`{name}` runs on the model servers of `{place.target}`, which keep no evidence: "
            "neither decisions nor outcomes are recorded there.",
            hint="With `--router` the bundled server in front does. To promote without a verdict: "
            f'`mlops promote {name} --arm ARM --force "why"`.',
        )
    forward = port_forward(place, f"service/{name}", "8080:80")
    ask = f"`mlops report {name} --url http://localhost:8080`"
    if place.options.get("postgresql"):
        if not own.url.startswith(("postgres", "env:", "file:")):
            raise NotFoundError(
                f"The journal of `{name}` is in PostgreSQL, and the settings do not say where.",
                hint='`[journal] url = "env:VARIABLE"` names it, and VARIABLE holds the URL; or '
                f"ask its server: `{forward}` and {ask}.",
            )
        return
    raise NotFoundError(
        f"The journal of `{name}` is a file in its pod, which only its server reads.",
        hint=f"Ask that server: `{forward}` and, in another terminal, {ask}.",
    )
