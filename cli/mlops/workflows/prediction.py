"""`mlops predict`: ask a deployment about rows from a file."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from mlops.deployment.places import pick_name, places
from mlops.errors import InvalidInputError
from mlops.feedback.customers import typed_columns
from mlops.settings import Settings
from mlops.workflows.customers import connect, require_running


@dataclass(frozen=True, slots=True)
class Predicted:
    """An answer.

    Attributes:
        name: Deployment that answered.
        predictions: One value per row.
        request_id: Names this request in feedback.
        arm: Arm that answered.
        revision: Revision that answered.
    """

    name: str
    predictions: list[Any]
    request_id: str
    arm: str
    revision: int


def predict(settings: Settings, name: str | None, text: str, *, arm: str = "") -> Predicted:
    """Ask for predictions of every row, in one request.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        text: CSV with a header, or JSON: a list of objects or of lists, or a body of MLflow's
            scoring protocol.
        arm: Arm to force; such a request stays out of the statistics. Empty to let it be drawn.

    Raises:
        InvalidInputError: The rows cannot be read, or the model refuses them.
        NotFoundError: The deployment does not run.
    """
    where = places(settings, pick_name(settings, name))
    state = require_running(where)
    body = json.dumps(_document(text)).encode()
    extra = {"x-mlops-arm": arm} if arm else {}
    with connect(state) as connection:
        answer, headers = connection.post("/invocations", body, headers=extra)
    predictions = answer["predictions"]
    return Predicted(
        name=where.name,
        predictions=predictions if isinstance(predictions, list) else [predictions],
        request_id=headers["x-mlops-request-id"],
        arm=headers["x-mlops-arm"],
        revision=int(headers["x-mlops-revision"]),
    )


def _document(text: str) -> dict[str, Any]:
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
        return document
    kind = "dataframe_records" if document and isinstance(document[0], dict) else "instances"
    return {kind: document}


def _from_csv(text: str) -> dict[str, Any]:
    table = [row for row in csv.reader(io.StringIO(text)) if row]
    header, rows = table[0], table[1:]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InvalidInputError(
                f"Row {number} has {len(row)} cells, but the header has {len(header)}."
            )
    if not rows:
        raise InvalidInputError("The CSV has a header and no rows.")
    return {"dataframe_split": {"columns": header, "data": typed_columns(rows)}}
