"""Any MLflow model, through MLflow's own pyfunc interface and its schema enforcement."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mlops.protocols.base import Columns, Kind, Payload, Prediction, ProtocolError, Records, Rows
from mlops.serving.models.base import first_line
from mlops.tables.signature import Signature

if TYPE_CHECKING:
    import pandas as pd

_FLOATS = {"double": "float64", "float": "float32"}
_WHOLES = {"long": "int64", "integer": "int32"}
_NO_MIXTURES = {
    **dict.fromkeys(_FLOATS, "numbers"),
    **dict.fromkeys(_WHOLES, "whole numbers"),
    "boolean": "booleans",
}


class PyfuncModel:
    """Calls `mlflow.pyfunc`.

    Args:
        model: A loaded `mlflow.pyfunc.PyFuncModel`.
        signature: Its signature, used to name the columns of rows without names.
    """

    def __init__(self, model: Any, signature: Signature) -> None:  # noqa: ANN401 - MLflow is untyped
        self._model = model
        self._signature = signature

    @property
    def raw(self) -> Any:  # noqa: ANN401 - MLflow is untyped
        """The model as MLflow has loaded it."""
        return self._model

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        """See `ServableModel.predict`."""
        from mlflow.exceptions import MlflowException

        try:
            rows = self._input(payload)
        except (TypeError, ValueError) as error:
            raise ProtocolError(Kind.MISMATCH, first_line(error)) from error
        try:
            answer = self._model.predict(rows, params=dict(parameters) or None)
        except MlflowException as error:
            raise ProtocolError(Kind.MISMATCH, str(error.message)) from error
        except ValueError as error:
            raise ProtocolError(Kind.MISMATCH, first_line(error)) from error
        except Exception as error:
            raise ProtocolError(
                Kind.MODEL_FAILED, f"The model raised {type(error).__name__}: {error}"
            ) from error
        return _plain(answer)

    def _input(self, payload: Payload) -> Any:  # noqa: ANN401 - a frame or an array
        import numpy as np
        import pandas as pd

        if isinstance(payload, Rows):
            names = payload.names or self._names_for(payload.values[0])
            return self._frame(pd.DataFrame(list(payload.values), columns=names))
        if isinstance(payload, Records):
            return self._frame(pd.DataFrame(list(payload.values)))
        if isinstance(payload, Columns):
            # NumPy would make one type of a list's cells, and hide a boolean among numbers.
            columns = {
                k: v if isinstance(v, list) else np.ravel(v) for k, v in payload.values.items()
            }
            return self._frame(pd.DataFrame(columns))
        values = np.asarray(payload.values)
        names = self._names_for(values[0]) if values.ndim == 2 else None
        if names is not None:
            return self._frame(pd.DataFrame(values, columns=names))
        return _cast_array(values, self._signature.tensor)

    def _names_for(self, row: Any) -> list[str] | None:  # noqa: ANN401 - a list or an array
        """Name the columns of an unnamed row by position, where the signature has names."""
        names = self._signature.names
        return list(names) if names and len(names) == len(row) else None

    def _frame(self, frame: pd.DataFrame) -> Any:  # noqa: ANN401 - a frame, or an array
        """Give the columns the signature's types where JSON could not say them."""
        for column in self._signature.columns:
            if column.name in frame:
                frame[column.name] = _cast(frame[column.name], column.type)
        if self._signature.tensor:
            return _cast_array(frame.to_numpy(), self._signature.tensor)
        return frame


def _cast(cells: pd.Series, kind: str) -> pd.Series:
    """Cast what loses nothing, as MLflow's scoring server does; its schema check sees to the rest.

    JSON has one sort of number and neither times nor bytes. Unlike the scoring server this makes
    no number of text or a boolean, and no whole number of a fraction.
    """
    import pandas as pd

    if kind in _FLOATS and (cells.dtype.kind in "iuf" or cells.isna().all()):
        return cells.astype(_FLOATS[kind])
    if kind in _NO_MIXTURES and cells.dtype.kind == "O" and not cells.isna().all():
        # MLflow's check would make numbers of them, but only beside a number.
        raise ValueError(f"column `{cells.name}` takes {_NO_MIXTURES[kind]}")
    if kind in _WHOLES and cells.dtype.kind in "iu":
        whole = cells.astype(_WHOLES[kind])
        return whole if (whole == cells).all() else cells
    if kind == "datetime":
        return pd.to_datetime(cells, format="ISO8601")
    if kind == "binary":
        return cells.map(partial(base64.b64decode, validate=True), na_action="ignore")
    return cells


def _cast_array(values: Any, tensor: tuple[str, tuple[int, ...]] | None) -> Any:  # noqa: ANN401 - arrays
    """Cast numbers to the element type of a tensor signature where that loses nothing."""
    if tensor is None or values.dtype.kind not in "iuf":
        return values
    cast = values.astype(tensor[0])
    is_number = cast.dtype.kind == "f" or (cast.dtype.kind in "iu" and (cast == values).all())
    return cast if is_number else values


def _plain(answer: Any) -> Prediction:  # noqa: ANN401 - whatever a model returns
    import numpy as np
    import pandas as pd

    if isinstance(answer, np.ndarray):
        return answer
    if isinstance(answer, pd.DataFrame):
        return {str(name): answer[name].to_numpy() for name in answer.columns}
    if isinstance(answer, pd.Series):
        return np.asarray(answer.to_numpy())
    if isinstance(answer, list):
        return answer
    if hasattr(answer, "toarray"):  # a SciPy sparse matrix
        return np.asarray(answer.toarray())
    return [answer]
