"""What Seldon v1's answers contain: the predictions, who gave them, and who chose."""

from __future__ import annotations

from typing import Any

from mlops.errors import RemoteError
from mlops.protocols.seldon_v1 import REQUEST_ID_KEY

# What is an object in every message of Seldon's, if it is there.
_OBJECTS = ("meta", "meta.tags", "meta.routing", "meta.requestPath", "data", "data.tensor")


def malformed(message: dict[str, Any]) -> str:
    """Name a part of a message that nothing here could read, empty if there is none.

    >>> malformed({"meta": {"routing": [1]}, "data": {"ndarray": [[6]]}})
    'meta.routing'
    """
    for path in _OBJECTS:
        value: Any = message
        for name in path.split("."):
            value = value.get(name) or {}
        if not isinstance(value, dict):
            return path
    return ""


def chosen(response: dict[str, Any]) -> dict[str, int]:
    """Return the routers that chose one child, and which.

    >>> chosen({"meta": {"routing": {"ab": 1, "model-b": -1}}})
    {'ab': 1}
    """
    routing = (response.get("meta") or {}).get("routing") or {}
    return {name: child for name, child in routing.items() if type(child) is int and child >= 0}


def answered_by(response: dict[str, Any]) -> str:
    """Name the model that answered, empty if the response does not.

    >>> answered_by({"meta": {"routing": {"ab": 1, "model-b": -1}}})
    'model-b'
    """
    meta = response.get("meta") or {}
    names = set(meta.get("requestPath") or {}) | set(meta.get("routing") or {})
    return ", ".join(sorted(names - set(chosen(response)) - {REQUEST_ID_KEY}))


def predictions(response: dict[str, Any]) -> list[Any]:
    """Return the prediction of each row.

    Raises:
        RemoteError: The response holds none.

    >>> predictions({"data": {"tensor": {"shape": [2, 1], "values": [5.0, 6.0]}}})
    [5.0, 6.0]
    """
    data = response.get("data")
    values = response.get("jsonData")
    if isinstance(data, dict):
        values = data.get("ndarray") or (data.get("tensor") or {}).get("values")
    if isinstance(values, list) and values:
        return [_only(value) for value in values]
    raise RemoteError(f"The Seldon endpoint answered no prediction: {str(response)[:200]}.")


def _only(value: object) -> Any:  # noqa: ANN401 - a JSON value
    """Take the single cell of a row out of its list; a row of several stays one."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value
