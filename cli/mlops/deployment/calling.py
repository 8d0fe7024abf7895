"""How to call a deployment: a request that works, ready to be copied."""

from __future__ import annotations

import json
import shlex

from mlops.protocols.json_body import write
from mlops.spec.server import ServerState


def curl(state: ServerState) -> str:
    """Return a curl command that asks for a prediction of the models' own input example."""
    request = state.request or {"instances": [[0.0]]}
    # To JSON and back: a gap in the example is NaN, which JSON has no word for, and becomes null.
    body = json.dumps(json.loads(write(request)), separators=(",", ":"))
    token = f' -H "Authorization: Bearer $(cat {shlex.quote(state.launch.token_file)})"'
    return (
        f"curl -s {state.url}/invocations -H 'Content-Type: application/json'"
        f"{token if state.launch.token_file else ''} -d {shlex.quote(body)}"
    )
