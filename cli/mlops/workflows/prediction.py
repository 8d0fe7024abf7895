"""`mlops predict`: ask a deployment about rows from a file."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from mlops.deployment.places import pick_name, places
from mlops.errors import InvalidInputError
from mlops.feedback.customers import Stray, blamed, find_strays, typed_columns
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
    document, strays = _document(text)
    body = json.dumps(document).encode()
    extra = {"x-mlops-arm": arm} if arm else {}
    with connect(state) as connection:
        try:
            answer, headers = connection.post("/invocations", body, headers=extra)
        except InvalidInputError as error:
            raise blamed(error, strays, "CSV") from error
    predictions = answer["predictions"]
    return Predicted(
        name=where.name,
        predictions=predictions if isinstance(predictions, list) else [predictions],
        request_id=headers["x-mlops-request-id"],
        arm=headers["x-mlops-arm"],
        revision=int(headers["x-mlops-revision"]),
    )


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
