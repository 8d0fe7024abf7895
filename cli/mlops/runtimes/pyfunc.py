"""Any MLflow model, through MLflow's own pyfunc interface.

Rows are made into what MLflow's scoring server would hand to the model, by the functions that it
uses, so that a model gets the same from both servers. Before that, cells that those functions
would change silently are refused by column, row and value (`mlops.tables.fit`). Times are read
here: MLflow takes the form of a column's first cell for all of them, and refuses a zone.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from mlops.errors import MODEL_REFUSED, InvalidInputError
from mlops.protocols.base import (
    Columns,
    Kind,
    Payload,
    Prediction,
    ProtocolError,
    Records,
    Rows,
    Series,
    Tensor,
    Whole,
)
from mlops.runtimes.base import Batch, Runtime, first_line, refusal_of
from mlops.runtimes.failures import failure_of
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.frames import FrameBuilder, is_plain
from mlops.runtimes.isolated import IsolatedModel
from mlops.tables.fit import check, is_whole, misfit_of
from mlops.tables.signature import Column, Signature, read_signature
from mlops.tables.times import NOT_A_TIME, nanoseconds, time_text

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.pyfunc import PyFuncModel

_MOST_SHOWN = 500
#: MLflow shows the rows, and says in the end what is wrong with them.
_REASON = re.compile(r".*\bError: ", re.DOTALL)
# What is wrong with a nested value comes as the `repr` of another exception, in quotes.
_NESTED = re.compile(r"""'?MlflowException\((['"])(.*)\1\)'?""", re.DOTALL)


class PyfuncBatch:
    """What MLflow hands to the model, with the request's parameters.

    Args:
        rows: A frame, arrays or JSON values.
        parameters: Those that the model takes; they may be empty.
        n_rows: Number of rows.
        enforced: Whether `rows` is a frame that needs no look at its types.
        key: As in `Batch`.
    """

    __slots__ = ("enforced", "key", "n_rows", "parameters", "rows")

    def __init__(
        self,
        rows: object,
        parameters: dict[str, Any],
        n_rows: int,
        *,
        enforced: bool = False,
        key: str | None = None,
    ) -> None:
        self.rows = rows
        self.parameters = parameters
        self.n_rows = n_rows
        self.enforced = enforced
        self.key = key

    @classmethod
    def join(cls, batches: Sequence[PyfuncBatch]) -> PyfuncBatch:
        """See `Batch.join`; those with a key are frames with the same columns and types."""
        import pandas as pd

        if len(batches) == 1:
            return batches[0]
        rows = pd.concat([batch.rows for batch in batches], ignore_index=True)
        return cls(rows, {}, len(rows), enforced=True, key=batches[0].key)


class PyfuncRuntime(Runtime):
    """Calls `mlflow.pyfunc`.

    Args:
        model: A loaded `mlflow.pyfunc.PyFuncModel`.
        signature: Its signature, used to name the columns of rows without names.
    """

    def __init__(self, model: PyFuncModel, signature: Signature) -> None:
        self._model = model
        self._signature = signature
        self._schema = model.metadata.get_input_schema()
        params = json.loads(signature.document.get("params") or "[]")
        self._params = frozenset(str(param["name"]) for param in params)
        unnamed = [Column(str(i), kind) for i, kind in enumerate(signature.unnamed)]
        self._columns = signature.columns or tuple(unnamed)
        self._times = {c.name: c for c in self._columns if c.type == "datetime"}
        self._checked = bool(signature.hinted or signature.tensor or self._columns) and not any(
            column.type == "any" for column in self._columns
        )
        self._frames: FrameBuilder | None = None
        self._key: str | None = None
        # Some models want their rows in the form of their example, which is MLflow's work.
        by_hint = signature.hinted or model.metadata._is_type_hint_from_example()
        if is_plain(signature.columns) and not by_hint:
            self._frames = FrameBuilder(signature.columns)
            self._bare = _without_inputs(model)

    @property
    def width(self) -> int:
        """Number of columns that the estimator says it takes; 0 if it does not."""
        wrapped = getattr(self._model, "_model_impl", None)
        for name in ("sklearn_model", "xgb_model", "lgb_model", "model"):
            estimator = getattr(wrapped, name, None)
            for width in ("n_features_in_", "num_features", "num_feature"):
                number = getattr(estimator, width, None)
                if number is not None:
                    return int(number() if callable(number) else number)
        return 0

    @property
    def raw(self) -> PyFuncModel:
        """The model as MLflow has loaded it."""
        return self._model

    def allow_joining(self) -> None:
        """See `Runtime.allow_joining`."""
        self._key = "frame"

    def prepare(self, payload: Payload, parameters: Mapping[str, Any]) -> PyfuncBatch:
        """See `Runtime.prepare`."""
        frame = None if parameters or self._frames is None else self._frames.build(payload)
        if frame is not None:
            return PyfuncBatch(frame, {}, len(frame), enforced=True, key=self._key)
        from mlflow.exceptions import MlflowException

        try:
            rows, given = self._input(payload, dict(parameters))
        except MlflowException as error:
            raise ProtocolError(Kind.MISMATCH, _reason(error)) from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ProtocolError(Kind.MISMATCH, first_line(error)) from error
        return PyfuncBatch(rows, given, payload.n_rows)

    def infer(self, batch: Batch) -> Prediction:
        """See `Runtime.infer`."""
        from mlflow.exceptions import MlflowException

        assert isinstance(batch, PyfuncBatch)
        model = self._bare if batch.enforced else self._model
        try:
            answer = model.predict(batch.rows, params=batch.parameters or None)
        except ProtocolError:
            # Of a model in another process, which did not answer.
            raise
        except MlflowException as error:
            raise ProtocolError(Kind.MISMATCH, _reason(error)) from error
        except Exception as error:
            rows, columns = self._named(batch.rows), self._columns
            raise failure_of(error, rows, columns, checked=self._checked) from error
        return as_prediction(answer)

    def _named(self, rows: object) -> object:
        """Return rows with the signature's names of their columns, where they have columns."""
        import pandas as pd

        if not isinstance(rows, pd.DataFrame):
            return rows
        return rows.rename(columns={label: name for name, label in self._labels(rows).items()})

    def _labels(self, frame: pd.DataFrame) -> dict[str, Any]:
        """Return what the signature's columns are called in a frame that has them.

        Like MLflow, take those without names by position, whatever they are called there.
        """
        names = [column.name for column in self._columns]
        if self._signature.unnamed:
            return dict(zip(names, frame.columns, strict=False))
        return {name: name for name in names if name in frame}

    def _input(self, payload: Payload, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return what the model is called with: rows, and its parameters."""
        source = payload.source
        if source is not None and source.form == "body":
            # A chat's parameters are beside its messages.
            found = {key: value for key, value in source.value.items() if key in self._params}
            return {k: v for k, v in source.value.items() if k not in found}, {**given, **found}
        if self._signature.hinted:
            is_json = source is not None and source.form != "csv"
            return (source.value if source and is_json else _values(payload)), given
        # Times are looked at where they are read.
        others = [column for column in self._columns if column.type != "datetime"]
        cells = self._cells(payload)
        if self._signature.unnamed:
            names = [column.name for column in self._columns]
            cells = dict(zip(names, cells.values(), strict=False))
        misfit = check(others, cells)
        if misfit is not None:
            raise refusal_of(misfit)
        return self._frame_or_array(payload), given

    def _frame_or_array(self, payload: Payload) -> Any:  # noqa: ANN401 - a frame, or arrays
        import pandas as pd

        names = self._names_for(payload)
        if names is not None:
            return self._cast(pd.DataFrame(list(payload.values), columns=names))
        is_csv = payload.source is not None and payload.source.form == "csv"
        if is_csv and isinstance(payload, Columns):
            return self._cast(pd.DataFrame(_columns(payload)).pipe(self._as_read_from_csv))
        if payload.source is not None:
            return self._parsed(payload.source.form, payload.source.value)
        if isinstance(payload, Columns):
            # NumPy would make one type of a list's cells, and hide a boolean among numbers.
            return self._cast(pd.DataFrame(_columns(payload)))
        if isinstance(payload, Tensor):
            values = payload.values
            if self._schema is None:
                return np.asarray(values)
            return self._parsed("inputs", values.tolist() if hasattr(values, "tolist") else values)
        return self._cast(
            pd.DataFrame(list(payload.values), columns=getattr(payload, "names", None))
        )

    def _as_read_from_csv(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Make objects of texts that a signature knows, and NaN of what is missing."""
        for column in self._signature.columns:
            if column.name in frame and column.type in ("string", "binary"):
                cells = frame[column.name].astype(object)
                frame[column.name] = cells.where(cells.notna(), np.nan)
        missing = [name for name in frame if len(frame) and frame[name].isna().all()]
        return frame.astype({n: float for n in missing if n not in self._signature.kinds})

    def _names_for(self, payload: Payload) -> list[str] | None:
        """Name the columns of unnamed rows by position, where the signature has names."""
        names = self._signature.names
        if not names or not payload.n_rows or isinstance(payload, Records | Columns):
            return None
        if isinstance(payload, Rows) and payload.names:
            return None
        rows = payload.values
        if isinstance(rows, np.ndarray):
            return list(names) if rows.shape[1:] == (len(names),) else None
        fits = all(isinstance(row, list | tuple) and len(row) == len(names) for row in rows)
        # The cells of one column may be lists themselves.
        return list(names) if fits and (len(names) > 1 or isinstance(payload, Rows)) else None

    def _cells(self, payload: Payload) -> Mapping[str, Any]:
        """Return the cells of the columns that can be checked one by one."""
        if isinstance(payload, Columns):
            return _columns(payload)
        if isinstance(payload, Records):
            known = dict.fromkeys(name for row in payload.values for name in row)
            return {name: [row.get(name) for row in payload.values] for name in known}
        names = self._names_for(payload) or getattr(payload, "names", None)
        if names:
            return dict(zip(names, zip(*payload.values, strict=True), strict=False))
        values = payload.values.tolist() if hasattr(payload.values, "tolist") else payload.values
        if self._signature.tensor and np.dtype(self._signature.tensor[0]).kind in "iu":
            _check_whole(values)
        if self._is_unnamed_table(values):
            return {str(at): cells for at, cells in enumerate(zip(*values, strict=True))}
        is_flat = not any(isinstance(value, list | dict) for value in values)
        return {self._columns[0].name: values} if len(self._columns) == 1 and is_flat else {}

    def _cast(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Give the columns the signature's types."""
        from mlflow.utils.proto_json_utils import cast_df_types_according_to_schema

        if self._schema is None:
            return frame
        for column in self._signature.columns:
            # Written as floats, which only protobuf and JavaScript do, they are whole anyway.
            if column.type in ("long", "integer", "boolean") and column.name in frame:
                frame[column.name] = _exact(frame[column.name])
        for name, label in self._labels(frame).items():
            if name in self._times:
                cells = _times(self._times[name], frame[label].tolist())
                frame[label] = np.array(cells, dtype=np.int64).view("datetime64[ns]")
        return cast_df_types_according_to_schema(frame, self._schema)

    def _parsed(self, form: str, value: object) -> Any:  # noqa: ANN401 - arrays, or what MLflow makes
        import pandas as pd
        from mlflow.utils.proto_json_utils import parse_tf_serving_input

        if self._times and self._is_unnamed_table(value):
            # MLflow makes one array of all columns, which cannot have times beside numbers.
            return self._cast(pd.DataFrame(value))
        if self._times:
            value = self._with_times(value)
        return parse_tf_serving_input({form: value}, self._schema)

    def _is_unnamed_table(self, rows: Any) -> TypeGuard[list[list[Any]]]:  # noqa: ANN401 - JSON
        """Whether each row is a list with a cell for each of the columns without names."""
        width = len(self._signature.unnamed)
        return (
            width > 0
            and isinstance(rows, Sequence)
            and len(rows) > 0
            and all(isinstance(row, list | tuple) and len(row) == width for row in rows)
        )

    def _with_times(self, value: object) -> object:
        """Write the times of JSON rows, or columns, in the one form that NumPy reads."""
        of = self._times.get
        if isinstance(value, dict):
            return {name: _time_texts(of(name), cells) for name, cells in value.items()}
        if isinstance(value, list) and any(isinstance(row, dict) for row in value):
            return [
                {name: _time_texts(of(name), cell, at) for name, cell in row.items()}
                if isinstance(row, dict)
                else row
                for at, row in enumerate(value)
            ]
        return _time_texts(self._columns[0], value) if len(self._columns) == 1 else value


def open_pyfunc(model: ModelFolder) -> PyfuncRuntime:
    """Return the runtime that MLflow's model came with."""
    return model.pyfunc


def _without_inputs(model: PyFuncModel) -> PyFuncModel:
    """Return a model that takes rows as they are; parameters still have their defaults."""
    if isinstance(model, IsolatedModel):
        return model.checked
    bare = copy.copy(model)
    bare._model_meta = metadata = copy.copy(model.metadata)
    metadata.signature = copy.copy(metadata.signature)
    metadata.signature.inputs = None
    return bare


def _exact(cells: pd.Series) -> pd.Series:
    """Return whole numbers among objects as such: through a float they would lose digits."""
    if cells.dtype.kind != "O":
        return cells
    return cells.map(lambda cell: int(cell) if isinstance(cell, float) else cell)


def _times(column: Column, cells: Iterable[object], first: int = 0) -> list[int]:
    """Return the nanoseconds of times, of which the first is in row `first`."""
    found = []
    for row, cell in enumerate(cells, first):
        time = nanoseconds(cell)
        if time is None:
            misfit = misfit_of(column, cell, row)
            assert misfit is not None, "it takes what is a time"
            raise refusal_of(misfit)
        found.append(time)
    return found


def _time_texts(column: Column | None, cells: Any, row: int = 0) -> Any:  # noqa: ANN401 - JSON values
    """Return a list of times, or one, in one form; cells of other columns, of None, as they are."""
    if column is None:
        return cells
    times = _times(column, cells if isinstance(cells, list) else [cells], row)
    texts = [None if time == NOT_A_TIME else time_text(time) for time in times]
    return texts if isinstance(cells, list) else texts[0]


def _check_whole(values: object) -> None:
    """Refuse fractions in a tensor of whole numbers, which NumPy would cut."""
    for value in values if isinstance(values, list) else [values]:
        if isinstance(value, list):
            _check_whole(value)
        elif isinstance(value, float) and not is_whole(value, "long"):
            raise ProtocolError(Kind.MISMATCH, f"The model takes whole numbers, not `{value}`.")


def _columns(payload: Columns) -> dict[str, Any]:
    """Return flat columns; (n, 1) is one too."""
    return {k: v if isinstance(v, list) else np.ravel(v) for k, v in payload.values.items()}


def _values(payload: Payload) -> list[Any]:
    """Return n JSON values, for a model whose `predict` has a type hint."""
    if isinstance(payload, Columns):
        columns = {k: list(v) for k, v in payload.values.items()}
        if len(columns) == 1:
            return next(iter(columns.values()))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(payload, Rows) and payload.names:
        return [dict(zip(payload.names, row, strict=True)) for row in payload.values]
    values = payload.values
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _reason(error: Any) -> str:  # noqa: ANN401 - an MlflowException
    """Return what MLflow does not like, without the rows that it repeats."""
    reason = _REASON.sub("", str(error.message), count=1).strip()
    if nested := _NESTED.fullmatch(reason):
        reason = nested[2]
    return f"{MODEL_REFUSED}: {reason[:_MOST_SHOWN] or type(error).__name__}"


def as_prediction(answer: object) -> Prediction:
    """Return what `mlflow.pyfunc` answers as a prediction."""
    import pandas as pd

    if isinstance(answer, np.ndarray) and answer.ndim:
        return answer
    if isinstance(answer, pd.DataFrame):
        return {str(name): answer[name].to_numpy() for name in answer.columns}
    if isinstance(answer, pd.Series):
        name = "0" if answer.name is None else str(answer.name)
        return Series({name: np.asarray(answer.to_numpy())})
    if isinstance(answer, list):
        return answer
    if hasattr(answer, "toarray"):  # a SciPy sparse matrix
        return np.asarray(answer.toarray())
    return Whole(answer)


def open_folder(path: Path, mlmodel: Mapping[str, Any], notes: Sequence[str]) -> ModelFolder:
    """Load a model through MLflow. Runs the model's code; may take seconds.

    Args:
        path: Its folder.
        mlmodel: Its MLmodel file, parsed.
        notes: How the packages here differ from those of its training, for the error.

    Raises:
        InvalidInputError: It cannot be loaded here.
    """
    import mlflow.pyfunc

    signature = read_signature(mlmodel)
    try:
        pyfunc = PyfuncRuntime(mlflow.pyfunc.load_model(str(path)), signature)
    except Exception as error:
        raise InvalidInputError(
            f"The model in `{path}` cannot be loaded here: {type(error).__name__}: {error}",
            hint="; ".join(notes) or "Serve it with the packages it was trained with.",
        ) from error
    return ModelFolder(path, mlmodel, signature, pyfunc)
