"""How to call a deployment: a request that works, ready to be copied."""

from __future__ import annotations

import json
import shlex

from mlops.spec.server import ServerState


def curl(state: ServerState) -> str:
    """Return a curl command with a request that the models have answered.

    If none is known, which `deploy` notes, the rows are to come from a file. The caller has to put
    the files of a certificate in the place of `CERT` and `KEY`, where the server asks for one, and
    the unit in the place of `VALUE`, where a header names it.
    """
    if state.request is None:
        body = "@rows.json"
    else:
        body = json.dumps(state.request, separators=(",", ":"))
    launch, more = state.launch, ""
    if launch.tls:
        if launch.tls.client_ca:
            more += " --cert CERT --key KEY"
        more += f" --cacert {shlex.quote(launch.tls.cert)}"
    kind, _, name = launch.served.revision.spec.sticky_by.partition(":")
    if kind == "header":
        more += f" -H {shlex.quote(f'{name}: VALUE')}"
    if launch.credentials:
        more += f' -H "Authorization: Bearer $(cat {shlex.quote(launch.credentials)})"'
    return (
        f"curl -s {state.url}/invocations -H 'Content-Type: application/json'{more} "
        f"-d {shlex.quote(body)}"
    )
