"""Any MLflow model, through MLflow's own pyfunc interface and its schema enforcement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops.protocols.base import Columns, Kind, Payload, Prediction, ProtocolError, Records, Rows
from mlops.serving.models.base import first_line
from mlops.serving.models.signature import Signature

if TYPE_CHECKING:
    import pandas as pd


class PyfuncModel:
    """Calls `mlflow.pyfunc`.

    Args:
        model: A loaded `mlflow.pyfunc.PyFuncModel`.
        signature: Its signature, used to name the columns of rows without names.
    """

    def __init__(self, model: Any, signature: Signature) -> None:  # noqa: ANN401 - MLflow is untyped
        self._model = model
        self._signature = signature

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        """See `ServableModel.predict`."""
        from mlflow.exceptions import MlflowException

        try:
            rows = self._input(payload)
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
            return self._frame(pd.DataFrame({k: np.ravel(v) for k, v in payload.values.items()}))
        values = np.asarray(payload.values)
        names = self._names_for(values[0]) if values.ndim == 2 else None
        return values if names is None else self._frame(pd.DataFrame(values, columns=names))

    def _names_for(self, row: Any) -> list[str] | None:  # noqa: ANN401 - a list or an array
        """Name the columns of an unnamed row by position, where the signature has names."""
        names = self._signature.names
        return list(names) if names and len(names) == len(row) else None

    def _frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Let whole numbers stand for doubles, also in a column that is all null."""
        for column in self._signature.columns:
            if column.type == "double" and column.name in frame:
                cells = frame[column.name]
                if cells.dtype.kind == "O" and cells.isna().all():
                    frame[column.name] = cells.astype(float)
        return frame


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
