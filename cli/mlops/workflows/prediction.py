"""`mlops predict`: ask a deployment about rows from a file."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.deployment.places import pick_name, places
from mlops.errors import InvalidInputError, RemoteError, UsageError, unreadable
from mlops.feedback.customers import Stray, blamed, find_strays, typed_columns
from mlops.feedback.elsewhere import Elsewhere, Reached
from mlops.feedback.seldon_answer import answered_by
from mlops.protocols import CODECS
from mlops.protocols.asking import ASKINGS
from mlops.protocols.base import Kind, ProtocolError
from mlops.protocols.json_body import write
from mlops.protocols.predictions import as_rows
from mlops.protocols.seldon_v1 import REQUEST_ID_KEY
from mlops.settings import Settings
from mlops.workflows.customers import connect, require_running
from mlops.workflows.elsewhere import reached


@dataclass(frozen=True, slots=True)
class Predicted:
    """An answer.

    Attributes:
        name: Deployment that answered, or its URL.
        predictions: One value per row.
        request_id: Names this request in feedback; empty where nothing does.
        arm: Arm that answered; empty if the answer does not tell.
        revision: Revision that answered; 0 if the answer does not tell.
        request: What Seldon v1 was asked, for its feedback; None for others.
        response: What Seldon v1 answered, which its feedback has to send back; None for others.
    """

    name: str
    predictions: list[Any]
    request_id: str
    arm: str
    revision: int
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None


def read_text(data: str) -> str:
    """Return the text of a file, or of standard input for `-`.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It cannot be read.
    """
    if data == "-":
        return sys.stdin.read()
    try:
        return Path(data).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(data, error) from error


def predict(
    settings: Settings,
    name: str | None,
    text: str,
    *,
    arm: str = "",
    elsewhere: Elsewhere | None = None,
) -> Predicted:
    """Ask for predictions of every row, in one request.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        text: CSV with a header, or JSON: a list of objects or of lists, or a body of MLflow's
            scoring protocol.
        arm: Arm to force; such a request stays out of the statistics. Empty to let it be drawn.
        elsewhere: Where the deployment is, if not on this machine.

    Raises:
        InvalidInputError: The rows cannot be read, or the model refuses them.
        NotFoundError: The deployment does not run.
    """
    document, strays = _document(text)
    body = json.dumps(document).encode()
    extra = {"x-mlops-arm": arm} if arm else {}
    with contextlib.ExitStack() as stack:
        if elsewhere is None:
            where = places(settings, pick_name(settings, name))
            connection = stack.enter_context(connect(require_running(where)))
        else:
            found = stack.enter_context(reached(elsewhere))
            connection = found.connection
        try:
            if elsewhere is None or found.protocol == "mlops":
                answer, headers = connection.post("/invocations", body, headers=extra)
                return _predicted(elsewhere.url if elsewhere else where.name, answer, headers)
            if arm:
                raise UsageError(
                    f"`--arm` is for a server of ours; {found.url} speaks `{found.protocol}`."
                )
            return _ask_there(found, body)
        except InvalidInputError as error:
            raise blamed(error, strays, "CSV") from error


def _ask_there(found: Reached, body: bytes) -> Predicted:
    """Ask a server that is not ours, in its own protocol."""
    asking = ASKINGS.load(found.protocol)
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
    """Read a revision's number; a server of somebody else may send what it likes."""
    text = str(said)
    return int(text) if text.isascii() and text.isdecimal() else 0


def _document(text: str) -> tuple[dict[str, Any], tuple[Stray, ...]]:
    # Spreadsheets mark their CSV with it.
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise InvalidInputError("There are no rows to predict: the input is empty.")
    if text.lstrip()[0] not in "[{":
        return _from_csv(text)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"The rows are neither JSON nor CSV: {error}.") from error
    if isinstance(document, dict):
        return document, ()
    kind = "dataframe_records" if document and isinstance(document[0], dict) else "instances"
    return {kind: document}, ()


def _from_csv(text: str) -> tuple[dict[str, Any], tuple[Stray, ...]]:
    reader = csv.reader(io.StringIO(text))
    table = [(reader.line_num, row) for row in reader if row]
    header, numbered = table[0][1], table[1:]
    for number, row in numbered:
        if len(row) != len(header):
            raise InvalidInputError(
                f"Line {number} has {len(row)} cells, but the header has {len(header)}."
            )
    if not numbered:
        raise InvalidInputError("The CSV has a header and no rows.")
    data = typed_columns([row for _, row in numbered])
    split = {"columns": header, "data": data}
    return {"dataframe_split": split}, find_strays(header, numbered)
