"""`mlops predict`: request predictions for rows of a file."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops.client.exchange import with_client_id
from mlops.client.remote_endpoint import Reached, RemoteServer
from mlops.client.replay_data import Stray, blamed, check_cells, find_strays
from mlops.client.seldon_answer import answered_by
from mlops.client.signature import signature_at
from mlops.deployment.runtime_files import pick_name, places
from mlops.errors import InvalidInputError, RemoteError, UsageError, unreadable
from mlops.protocols import CODECS
from mlops.protocols.base import Kind, ProtocolError
from mlops.protocols.clients import CLIENT_CODECS
from mlops.protocols.json_body import write
from mlops.protocols.predictions import as_rows
from mlops.protocols.seldon_v1 import REQUEST_ID_KEY
from mlops.settings import Settings
from mlops.tables import read_bytes
from mlops.tables.reading import unpacked
from mlops.tables.signature import Signature
from mlops.workflows.remote_feedback import reached
from mlops.workflows.replay import connect, require_running


@dataclass(frozen=True, slots=True)
class Predicted:
    """An answer.

    Attributes:
        name: Deployment that answered, or its URL.
        predictions: One value per row.
        request_id: Names this request in feedback; empty if it has no id.
        arm: Arm that answered; empty if the answer does not name it.
        revision: Revision that answered; 0 if the answer does not name it.
        request: The request to Seldon v1, for its feedback; None for others.
        response: What Seldon v1 answered, which its feedback has to send back; None for others.
        reward_name: Reward of the deployment; empty where it is not known, as behind a URL.
    """

    name: str
    predictions: list[Any]
    request_id: str
    arm: str
    revision: int
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    reward_name: str = ""


def read_data(data: str) -> bytes:
    """Return what is in a file, or comes by standard input for `-`.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It cannot be read.
    """
    if data == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(data).read_bytes()
    except OSError as error:
        raise unreadable(data, error) from error


def predict(
    settings: Settings,
    name: str | None,
    data: bytes,
    *,
    arm: str = "",
    client_id: str = "",
    remote: RemoteServer | None = None,
) -> Predicted:
    """Ask for predictions of every row, in one request.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        data: CSV with a header, Parquet, NDJSON, or JSON: a list of objects or of lists, or a
            body of MLflow's scoring protocol. Columns get the types of the deployed model's
            signature.
        arm: Arm to force; such a request stays out of the statistics. Empty to let it be drawn.
        client_id: The user's own id of the request, empty for none.
        remote: Where the deployment is, if not on this machine.

    Raises:
        InvalidInputError: The rows cannot be read, the model refuses them, or the id fits no
            header.
        NotFoundError: The deployment does not run.
    """
    extra = {**({"x-mlops-arm": arm} if arm else {}), **with_client_id(client_id)}
    reward = ""
    with contextlib.ExitStack() as stack:
        if remote is None:
            where = places(settings, pick_name(settings, name))
            state = require_running(where)
            reward = state.launch.served.revision.spec.reward
            connection = stack.enter_context(connect(state))
        else:
            found = stack.enter_context(reached(remote))
            connection = found.connection
        ours = remote is None or found.protocol == "mlops"
        signature = signature_at(connection) if ours else Signature()
        document, strays = _document(data, signature)
        body = json.dumps(document).encode()
        try:
            if remote is None or found.protocol == "mlops":
                answer, headers = connection.post("/invocations", body, headers=extra)
                found_at = remote.url if remote else where.name
                return replace(_predicted(found_at, answer, headers), reward_name=reward)
            if extra:
                option = "--arm" if arm else "--client-id"
                raise UsageError(
                    f"`{option}` is for an mlops server; {found.url} speaks `{found.protocol}`."
                )
            return _ask_there(found, body)
        except InvalidInputError as error:
            raise blamed(error, strays, "CSV") from error


def _ask_there(found: Reached, body: bytes) -> Predicted:
    """Ask a server other than mlops, in its own protocol."""
    asking = CLIENT_CODECS.load(found.protocol)
    try:
        payload = CODECS.load("mlflow").decode(body, {"content-type": "application/json"}).payload
        question = asking.encode(payload, {}, {})
        answer, headers = found.connection.post(found.predictions, question)
        decoded = asking.decode(json.dumps(answer).encode())
        predictions = json.loads(write(as_rows(decoded)))
    except ProtocolError as error:
        kind = RemoteError if error.kind is Kind.UPSTREAM else InvalidInputError
        raise kind(f"{found.url}: {error.message}") from error
    if found.protocol != "seldon":
        return _predicted(found.url, {"predictions": predictions}, headers)
    meta = answer.get("meta") or {}
    ours = (meta.get("requestPath") or {}).get(REQUEST_ID_KEY)
    return Predicted(
        name=found.url,
        predictions=predictions,
        request_id=str(ours or meta.get("puid") or ""),
        arm=headers.get("x-mlops-arm", "") or answered_by(answer),
        revision=_number(headers.get("x-mlops-revision")),
        request=json.loads(question),
        response=answer,
    )


def _predicted(name: str, answer: Any, headers: Mapping[str, str]) -> Predicted:  # noqa: ANN401 - a JSON value
    try:
        predictions = answer["predictions"]
    except (KeyError, TypeError) as error:
        raise RemoteError(f"{name} answered no prediction: {str(answer)[:200]}.") from error
    return Predicted(
        name=name,
        predictions=predictions if isinstance(predictions, list) else [predictions],
        request_id=headers.get("x-mlops-request-id", ""),
        arm=headers.get("x-mlops-arm", ""),
        revision=_number(headers.get("x-mlops-revision")),
    )


def _number(said: object) -> int:
    """Read a revision's number; another server may send anything."""
    text = str(said)
    return int(text) if text.isascii() and text.isdecimal() else 0


def _document(data: bytes, signature: Signature) -> tuple[dict[str, Any], tuple[Stray, ...]]:
    """Return a request body of MLflow's, and texts that may have made a column text."""
    data = unpacked(data)
    if not data.strip():
        raise InvalidInputError("There are no rows to predict: the input is empty.")
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
        # JSON has its own types, and forms that are no table; the server knows the signature.
        with contextlib.suppress(ValueError):
            return _as_body(json.loads(data.decode("utf-8-sig"))), ()
    table = read_bytes(data, signature)
    if not len(table):
        raise InvalidInputError("The input has a header and no rows.")
    check_cells(table, signature, "The input")
    split = {"columns": list(table.names), "data": table.rows}
    return {"dataframe_split": split}, find_strays(table)


def _as_body(document: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON value
    if isinstance(document, dict):
        return document
    kind = "dataframe_records" if document and isinstance(document[0], dict) else "instances"
    return {kind: document}
