"""Features as they come out of the tables, in the form of any version."""

from __future__ import annotations

import orjson
from sqlalchemy import Connection, select

from mlops.journal.features import KeptRows, old_form
from mlops.journal.records import WHOLE_REQUEST, LabelledRow
from mlops.journal.rows import Row, prediction_of, truth_of
from mlops.journal.schema import feature_columns

_MAX_KNOWN = 10_000


class ColumnNames:
    """The lists of column names that decisions refer to, each read when it is first met.

    Args:
        connection: Used while decisions are read on it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[int, list[str] | None] = {}

    def of(self, columns_id: int) -> list[str] | None:
        """Return the names with this key; None for rows without names."""
        if columns_id not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            query = select(feature_columns.c.names).where(feature_columns.c.id == columns_id)
            text = self._connection.execute(query).scalar_one()
            self._known[columns_id] = orjson.loads(text)
        return self._known[columns_id]

    def kept(self, features: str, columns_id: int | None) -> KeptRows:
        """Return the rows of one request.

        Args:
            features: Column `features` of a decision.
            columns_id: Its column of this name.
        """
        document = orjson.loads(features)
        if columns_id is None:
            return old_form(document)
        return KeptRows(self.of(columns_id), document)


def labelled_row(row: Row, names: ColumnNames) -> LabelledRow | None:
    """Turn an outcome joined to its decision into a `LabelledRow`.

    None if its row of the request is not known: the truth is about a whole request of several
    rows, or the features were kept in a form without rows.
    """
    if row.row == WHOLE_REQUEST and row.n_rows > 1:
        return None
    features = names.kept(row.features, row.columns_id).row(max(row.row, 0))
    if features is None:
        return None
    return LabelledRow(
        nonce=bytes(row.nonce),
        unit=None if row.unit is None else bytes(row.unit),
        features=features,
        truth=truth_of(row),
        arm=row.arm,
        propensity=row.propensity,
        revision=row.revision,
        decided_ms=row.time_ms,
        time_ms=row.arrived_ms,
        key_id=row.key_id,
        served=prediction_of(row.prediction, row.predictions, row.row),
    )
