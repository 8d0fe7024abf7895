"""The administration socket, from outside the server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from mlops.errors import InvalidInputError, RemoteError, kind_of
from mlops.spec.server import Served, ServerState, served_to_dict, state_from_dict

_STATUS_TIMEOUT_S = 5.0
# Loading models may take long; the server answers once it is done.
_SWAP_TIMEOUT_S = 600.0


def get_status(path: str) -> dict[str, Any]:
    """Ask a server what it serves.

    Raises:
        RemoteError: It does not answer.
    """
    return _call(path, "GET", "/status", None, _STATUS_TIMEOUT_S)


def answers(path: str) -> bool:
    """Whether a server answers at all, which takes it a moment."""
    from mlops.deployment.unix_http import exchange

    try:
        exchange(path, "GET", "/state", None, _STATUS_TIMEOUT_S)
    except OSError:
        return False
    return True


def get_state(path: str) -> ServerState:
    """Ask a server for its state; it also rewrites its state file.

    Raises:
        RemoteError: It does not answer, or not in this form.
    """
    document = _call(path, "GET", "/state", None, _STATUS_TIMEOUT_S)
    try:
        return state_from_dict(document, path)
    except InvalidInputError as error:
        raise RemoteError(error.message) from error


def swap(path: str, served: Served) -> dict[str, Any]:
    """Load a revision and make it live; if that fails the old one continues.

    Raises:
        InvalidInputError: A model cannot be served.
        ConflictError: The server is loading another revision.
        RemoteError: It does not answer.
    """
    return _call(path, "POST", "/revision", served_to_dict(served), _SWAP_TIMEOUT_S)


def add_note(path: str, text: str) -> None:
    """Write a sentence into the journal, for readers of the report.

    Raises:
        RemoteError: The server does not answer.
    """
    _call(path, "POST", "/note", {"text": text}, _STATUS_TIMEOUT_S)


def score(path: str, rows: Sequence[Any]) -> list[list[Any]]:
    """Ask every arm about the same rows; nothing is drawn, counted or recorded.

    Args:
        path: The administration socket.
        rows: Each an object, column name to cell, or a list of cells.

    Returns:
        One list of predictions per arm, in the order of the arms.

    Raises:
        InvalidInputError: A model refuses a row.
        RemoteError: The server does not answer.
    """
    # Scoring may take minutes; a server that hangs is noticed within seconds.
    _call(path, "GET", "/status", None, _STATUS_TIMEOUT_S)
    answer = _call(path, "POST", "/score", {"rows": list(rows)}, _SWAP_TIMEOUT_S)
    arms: list[list[Any]] = answer["arms"]
    return arms


def _call(
    path: str, method: str, target: str, document: dict[str, Any] | None, timeout: float
) -> dict[str, Any]:
    # If nothing runs, no request is made, and a status need not import it.
    from mlops.deployment.unix_http import exchange

    try:
        body = None if document is None else json.dumps(document)
        status, content = exchange(path, method, target, body, timeout)
        answer: dict[str, Any] = json.loads(content)
    except (OSError, ValueError) as error:
        raise RemoteError(
            f"The server does not answer on its socket: {error}.", hint="mlops status"
        ) from error
    if status != HTTPStatus.OK:
        fault = answer["error"]
        raise kind_of(code=fault["code"])(fault["message"], hint=fault["hint"])
    return answer
