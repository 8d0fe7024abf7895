"""The signature of what a deployment serves, as its server reports it."""

from __future__ import annotations

import json

from mlops.client.connection import Connection
from mlops.tables.signature import Signature, signature_of


def signature_at(connection: Connection) -> Signature:
    """Ask an mlops server for its signature; an older one does not report it and has none.

    Raises:
        RemoteError: It does not answer.
    """
    try:
        (name,) = json.loads(connection.get("/v1/models").text)["models"]
        metadata = json.loads(connection.get(f"/v2/models/{name}").text)
        return signature_of(metadata["parameters"]["mlflow_signature"])
    except (KeyError, TypeError, ValueError):
        return Signature()
