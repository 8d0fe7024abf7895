"""Any Seldon Core v1 endpoint: predictions and feedback in its own protocol.

Specification: Seldon Core v1 external prediction API, `/api/v1.0/predictions` and
`/api/v1.0/feedback`. Credit depends on `response.meta.routing`, so the whole response is sent
back with the reward; the deployment must be one that injects routing.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from mlops.errors import RemoteError
from mlops.feedback.connection import Connection
from mlops.feedback.reward import compute
from mlops.rewards import Reward


class SeldonEndpoint:
    """A Seldon v1 deployment. It has no bulk feedback: each is a request of its own.

    Args:
        connection: To the deployment's prefix, for example `http://host/seldon/ns/wine`.
        reward: Computes the reward here, since Seldon derives none, with its name.
    """

    def __init__(self, connection: Connection, reward: tuple[Reward, str]) -> None:
        self._connection = connection
        self._reward = reward
        self._sent: Counter[str] = Counter()

    def visit(self, columns: tuple[str, ...], row: tuple[Any, ...], truth: Any) -> None:  # noqa: ANN401 - a JSON value
        """See `Endpoint.visit`; the feedback is sent at once."""
        request = {"data": {"names": list(columns), "ndarray": [list(row)]}}
        response, _ = self._connection.post("/api/v1.0/predictions", json.dumps(request).encode())
        feedback = {
            "request": request,
            "response": response,
            "reward": compute(*self._reward, _prediction(response), truth),
            "truth": {"data": {"ndarray": [truth]}},
        }
        self._connection.post("/api/v1.0/feedback", json.dumps(feedback).encode())
        self._sent["sent"] += 1

    def flush(self) -> Counter[str]:
        """Return what was sent since the last call. Seldon does not say what became of it."""
        sent, self._sent = self._sent, Counter()
        return sent


def _prediction(response: Any) -> Any:  # noqa: ANN401 - a JSON value
    data = response.get("data", {}) if isinstance(response, dict) else {}
    values = data.get("ndarray") or data.get("tensor", {}).get("values")
    while isinstance(values, list) and values:
        values = values[0]
    if values is None or isinstance(values, list):
        raise RemoteError(f"The Seldon endpoint answered no prediction: {str(response)[:200]}.")
    return values
