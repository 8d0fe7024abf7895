"""The written form of a detector of outliers: a JSON document, kept with the model it is for.

Its arrays are NumPy's own format (`.npz`, never pickled) in base64.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.errors import InvalidInputError
from mlops.stats.copula import Copula
from mlops.stats.outliers import Detector, Detectors, Ecod, Forest, fit
from mlops.stats.row_codes import Coding, encode

#: Share of undrifted rows that is flagged by default.
LEVEL = 0.01
#: Version of the written form; 1 is of detectors without a copula, as earlier ones were.
SCHEMA_VERSION = 2
#: Name of the file in a model's folder.
OUTLIER_FILE = "outlier_detector.json"


@dataclass(frozen=True, slots=True)
class RowDetector:
    """A detector of outliers among rows as requests have them.

    Attributes:
        codings: How the features become numbers.
        detector: What looks at those.
    """

    codings: tuple[Coding, ...]
    detector: Detector

    def p_values(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the p-value of each row that `encode` has written, (m,)."""
        return self.detector.p_values(rows)

    def p_values_of(self, columns: Mapping[str, Sequence[Any]]) -> NDArray[np.float64]:
        """Return the p-value of each row of a table, (m,).

        Args:
            columns: Name to cells, (m,) each, of every coding.
        """
        return self.p_values(encode(columns, self.codings))

    def unusual(self, rows: NDArray[np.float64], most: int) -> list[list[str]]:
        """Return the names of the features of each row, (m, 2 k), the most unusual first.

        Args:
            rows: As `encode` has written them.
            most: How many names of each row.
        """
        # A feature has two columns.
        columns = self.detector.unusual(rows)[:, : 2 * most] % len(self.codings)
        found = [list(dict.fromkeys(row))[:most] for row in columns.tolist()]
        return [[self.codings[at].name for at in row] for row in found]


def fit_rows(columns: Mapping[str, Sequence[Any]], codings: Sequence[Coding]) -> RowDetector:
    """Fit a detector on the rows of a table.

    Args:
        columns: Name to cells.
        codings: How they become numbers; at least one.

    Raises:
        ValueError: There are too few rows, or no feature can be looked at.
    """
    if not codings:
        raise ValueError("no feature is a number or a category")
    return RowDetector(tuple(codings), fit(encode(columns, codings)))


def to_json(found: RowDetector) -> str:
    """Write a detector."""
    own = found.detector.own
    forest, ecod = own.forest, own.ecod
    arrays: dict[str, NDArray[Any]] = {
        "roots": forest.roots.astype(np.int32),
        "features": forest.features.astype(np.int32),
        "cuts": forest.cuts,
        "below": forest.below.astype(np.int32),
        "lengths": forest.lengths,
        "values": ecod.values,
        "skewed": ecod.skewed,
        "fitted": found.detector.fitted,
        "calibrated": found.detector.calibrated,
    }
    if own.copula is not None:
        arrays["whiten"] = own.copula.whiten
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    document = {
        "schema_version": 1 if own.copula is None else SCHEMA_VERSION,
        "codings": [asdict(each) for each in found.codings],
        "arrays": base64.b64encode(file.getvalue()).decode("ascii"),
    }
    return json.dumps(document, allow_nan=False) + "\n"


def read_detector(folder: Path) -> RowDetector | None:
    """Return the detector that is stored with a model; None where there is none.

    Args:
        folder: The model's folder.

    Raises:
        InvalidInputError: Its file is of another version or form.
        OSError: Its file cannot be read now.
    """
    try:
        text = (folder / OUTLIER_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return from_json(text)


def from_json(text: str | bytes) -> RowDetector:
    """Read a detector that `to_json` has written.

    Raises:
        InvalidInputError: The document is of another version or form.
    """
    try:
        document = json.loads(text)
        if document["schema_version"] not in (1, SCHEMA_VERSION):
            raise ValueError(f"version {document['schema_version']}")
        file = io.BytesIO(base64.b64decode(document["arrays"], validate=True))
        with np.load(file, allow_pickle=False) as arrays:
            forest = Forest(
                arrays["roots"].astype(np.int64),
                arrays["features"].astype(np.int64),
                arrays["cuts"],
                arrays["below"].astype(np.int64),
                arrays["lengths"],
            )
            ecod = Ecod(arrays["values"], arrays["skewed"])
            # Those of an earlier version, and of many columns, do not have it.
            copula = Copula(arrays["whiten"]) if "whiten" in arrays else None
            own = Detectors(forest, ecod, copula)
            detector = Detector(own, arrays["fitted"], arrays["calibrated"])
        return RowDetector(tuple(Coding(**each) for each in document["codings"]), detector)
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InvalidInputError(f"`{OUTLIER_FILE}` cannot be read: {error}.") from error
