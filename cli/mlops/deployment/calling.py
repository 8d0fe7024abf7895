"""How to call a deployment: a request that works, ready to be copied."""

from __future__ import annotations

import json
import shlex

from mlops.spec.server import ServerState


def curl(state: ServerState) -> str:
    """Return a curl command with a request that the models have answered.

    If none is known, which `deploy` tells in a note, the rows are to come from a file.
    """
    if state.request is None:
        body = "@rows.json"
    else:
        body = json.dumps(state.request, separators=(",", ":"))
    token = f' -H "Authorization: Bearer $(cat {shlex.quote(state.launch.token_file)})"'
    return (
        f"curl -s {state.url}/invocations -H 'Content-Type: application/json'"
        f"{token if state.launch.token_file else ''} -d {shlex.quote(body)}"
    )
