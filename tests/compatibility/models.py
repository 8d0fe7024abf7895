"""A corpus of models of every flavour and kind of signature, saved as MLflow saves them.

Most pyfuncs answer what they were given, with its types: a difference in what reaches a model is a
difference in its answer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pydantic
from mlflow.models import ModelSignature
from mlflow.pyfunc import ChatModel, PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage, ChatParams
from mlflow.types.schema import AnyType, Array, Map, Object, Property

_GENERATOR = np.random.default_rng(7)


@dataclass(frozen=True, slots=True)
class Case:
    """One model and what its requests are made of.

    Attributes:
        name: Of the model.
        columns: Name to MLflow's type of each column; empty where rows are no table.
        rows: Rows that it takes.
        inputs: A value for `inputs` that it takes, where rows are no table.
        params: Parameters that it takes.
    """

    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Sequence[Any]] = ()
    inputs: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)


def shown(rows: Any) -> list[Any]:
    """What a model was given: one text per row, with the type of every cell."""
    if isinstance(rows, pd.DataFrame):
        kinds = {str(name): str(kind) for name, kind in rows.dtypes.items()}
        cells = rows.to_dict("records")
        return [f"{kinds} { {str(k): _cell(v) for k, v in row.items()} }" for row in cells]
    if isinstance(rows, np.ndarray):
        return [f"{rows.dtype} {rows.shape} {_cell(row)}" for row in np.atleast_1d(rows)]
    if isinstance(rows, dict):
        return [f"dict { {k: _cell(v) for k, v in rows.items()} }"]
    return [f"{type(row).__name__} {_cell(row)}" for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.tolist()}"
    return f"{type(value).__name__} {value!r}"


class Echo(PythonModel):  # type: ignore[misc]
    """Answers what it was given, in one of several forms."""

    def __init__(self, form: str = "list") -> None:
        self.form = form

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        texts = shown(model_input)
        numbers = [float(len(text)) for text in texts]
        match self.form:
            case "frame":
                return pd.DataFrame({"text": texts, "params": [str(params)] * len(texts)})
            case "series":
                return pd.Series(numbers)
            case "named series":
                return pd.Series(numbers, name="length")
            case "columns":
                return {"text": texts, "number": numbers}
            case "text":
                return " | ".join(texts)
            case "number":
                return sum(numbers)
            case "odd":
                return [float("nan"), *numbers[1:]] if len(numbers) > 1 else np.array([np.inf])
            case "times":
                return pd.DataFrame(
                    {
                        "when": pd.to_datetime(["2024-05-01T10:00:00"] * len(texts)),
                        "raw": [b"hi"] * len(texts),
                        "day": [dt.date(2024, 5, 1)] * len(texts),
                    }
                )
        return texts


class Texts(PythonModel):  # type: ignore[misc]
    def predict(self, model_input: list[str]) -> list[str]:
        return [f"{len(text)} {text}" for text in model_input]


class Scores(PythonModel):  # type: ignore[misc]
    def predict(self, model_input: list[dict[str, float]]) -> list[float]:
        return [sum(row.values()) for row in model_input]


class Visit(pydantic.BaseModel):
    name: str
    age: int | None = None
    tags: list[str] = []


class Visits(PythonModel):  # type: ignore[misc]
    def predict(self, model_input: list[Visit]) -> list[dict[str, Any]]:
        return [visit.model_dump() for visit in model_input]


class Frames(PythonModel):  # type: ignore[misc]
    def predict(self, model_input: pd.DataFrame) -> pd.Series:
        return model_input["a"] + model_input["b"]


class Chat(ChatModel):  # type: ignore[misc]
    def predict(
        self, context: Any, messages: list[ChatMessage], params: ChatParams
    ) -> ChatCompletionResponse:
        text = f"{messages[-1].content} {params.temperature}"
        choice = ChatChoice(index=0, message=ChatMessage(role="assistant", content=text))
        return ChatCompletionResponse(choices=[choice], model="echo", created=1, id="1")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Saves the models into one folder."""

    folder: Path

    def save(self) -> list[Case]:
        cases: list[Case] = []
        for maker in (self._estimators, self._pyfuncs, self._nested, self._hinted):
            cases += maker()
        return cases

    def _pyfunc(self, name: str, model: Any, signature: Any = None, example: Any = None) -> None:
        mlflow.pyfunc.save_model(
            str(self.folder / name),
            python_model=model,
            signature=signature,
            input_example=example,
            pip_requirements=["mlflow"],
        )

    def _sklearn(self, name: str, model: Any, frame: pd.DataFrame, **extra: Any) -> None:
        predicted = getattr(model, extra.get("pyfunc_predict_fn", "predict"))(frame)
        mlflow.sklearn.save_model(
            model,
            str(self.folder / name),
            signature=mlflow.models.infer_signature(frame, predicted),
            input_example=frame.head(2),
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
            **extra,
        )

    def _estimators(self) -> list[Case]:
        import lightgbm
        import xgboost
        from sklearn.compose import make_column_transformer
        from sklearn.linear_model import LinearRegression, LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder

        n = 60
        doubles = pd.DataFrame(_GENERATOR.normal(size=(n, 3)), columns=["a", "b", "c"])
        target = doubles @ [1.0, 2.0, 3.0]
        rows = [[0.25, -1.5, 2.0], [3.0, 0.125, -0.5]]
        named = dict.fromkeys("abc", "double")
        self._sklearn("doubles", LinearRegression().fit(doubles, target), doubles)
        self._sklearn(
            "several outputs",
            LinearRegression().fit(doubles, np.column_stack([target, -target])),
            doubles,
        )
        self._sklearn(
            "probabilities",
            LogisticRegression().fit(doubles, target > 0),
            doubles,
            pyfunc_predict_fn="predict_proba",
        )
        mixed = doubles.assign(c=_GENERATOR.integers(0, 9, n))
        self._sklearn("doubles and a long", LinearRegression().fit(mixed, target), mixed)
        small = doubles.astype("float32").assign(c=_GENERATOR.integers(0, 9, n).astype("int32"))
        self._sklearn("floats and an integer", LinearRegression().fit(small, target), small)
        houses = pd.DataFrame(
            {
                "town": _GENERATOR.choice(["Köln", "Bonn"], n),
                "sqm": doubles["a"],
                "garden": _GENERATOR.random(n) > 0.5,
            }
        )
        pipeline = make_pipeline(
            make_column_transformer(
                (OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough"
            ),
            LogisticRegression(),
        )
        labels = np.where(target > 0, "dear", "cheap")
        self._sklearn("text, double and boolean", pipeline.fit(houses, labels), houses)
        booster = xgboost.XGBRegressor(n_estimators=3).fit(doubles.to_numpy(), target)
        mlflow.xgboost.save_model(
            booster, str(self.folder / "xgboost, unsigned"), pip_requirements=["xgboost"]
        )
        data = lightgbm.Dataset(mixed, target)
        light = lightgbm.train({"verbose": -1, "num_threads": 1}, data, 3)
        mlflow.lightgbm.save_model(
            light,
            str(self.folder / "lightgbm"),
            signature=mlflow.models.infer_signature(mixed, light.predict(mixed)),
            input_example=mixed.head(2),
            pip_requirements=["lightgbm"],
        )
        whole = [[0.25, -1.5, 2], [3.0, 0.125, 5]]
        one_long = {"a": "double", "b": "double", "c": "long"}
        return [
            Case("doubles", named, rows),
            Case("several outputs", named, rows),
            Case("probabilities", named, rows),
            Case("doubles and a long", one_long, whole),
            Case("floats and an integer", {"a": "float", "b": "float", "c": "integer"}, whole),
            Case(
                "text, double and boolean",
                {"town": "string", "sqm": "double", "garden": "boolean"},
                [["Köln", 1.5, True], ["Bonn", 0.5, False]],
            ),
            Case("xgboost, unsigned", dict.fromkeys("abc", "none"), rows),
            Case("lightgbm", one_long, whole),
        ]

    def _echo(
        self, name: str, kinds: Mapping[str, Any], row: Sequence[Any], form: str = "list"
    ) -> Case:
        columns = [
            ColSpec(kind.removesuffix("?"), name, required=not kind.endswith("?"))
            if isinstance(kind, str)
            else ColSpec(kind, name)
            for name, kind in kinds.items()
        ]
        params = ParamSchema(
            [ParamSpec("k", DataType.long, 3), ParamSpec("t", DataType.double, 0.5)]
        )
        self._pyfunc(name, Echo(form), ModelSignature(Schema(columns), params=params))
        types = {
            name: kind.removesuffix("?") if isinstance(kind, str) else "nested"
            for name, kind in kinds.items()
        }
        return Case(name, types, [list(row), list(row)], params={"k": 5})

    def _pyfuncs(self) -> list[Case]:
        strict = {"l": "long", "i": "integer", "b": "boolean", "s": "string"}
        self._pyfunc("unsigned", Echo())
        return [
            self._echo("long, integer, boolean, text", strict, [2**40, 7, True, "01067"]),
            self._echo(
                "optional columns",
                {"x": "double", "s": "string?", "l": "long?"},
                [1.5, "ü", 2],
                "frame",
            ),
            self._echo("dates", {"d": "datetime", "x": "double"}, ["2024-05-01T10:00:00", 1.5]),
            self._echo("binary", {"raw": "binary", "x": "float"}, ["aGVsbG8=", 1.5]),
            self._echo("one column", {"text": "string"}, ["a\nb"]),
            self._echo("columns out", {"x": "double", "s": "string"}, [1.5, "a"], "columns"),
            self._echo("text out", {"x": "double", "s": "string"}, [1.5, "a"], "text"),
            self._echo("number out", {"x": "double"}, [1.5], "number"),
            self._echo("series out", {"x": "double"}, [1.5], "series"),
            self._echo("named series out", {"x": "long"}, [1], "named series"),
            self._echo("no numbers out", {"x": "double"}, [1.5], "odd"),
            self._echo("times and bytes out", {"x": "double"}, [1.5], "times"),
            Case("unsigned", {"x": "none", "s": "none"}, [[1.5, "a"], [2.5, "b"]]),
        ]

    def _nested(self) -> list[Case]:
        self._pyfunc(
            "tensor", Echo(), ModelSignature(Schema([TensorSpec(np.dtype("float64"), (-1, 3))]))
        )
        self._pyfunc(
            "tensor of integers",
            Echo(),
            ModelSignature(Schema([TensorSpec(np.dtype("int64"), (-1, 2, 2))])),
        )
        tensors = [
            TensorSpec(np.dtype("float32"), (-1, 2), "left"),
            TensorSpec(np.dtype("int64"), (-1,), "right"),
        ]
        self._pyfunc("named tensors", Echo(), ModelSignature(Schema(tensors)))
        self._pyfunc("one unnamed", Echo(), ModelSignature(Schema([ColSpec(DataType.long)])))
        obj = Object([Property("n", DataType.long), Property("s", DataType.string, required=False)])
        return [
            self._echo("array", {"v": Array(DataType.double), "x": "long"}, [[1.5, 2.0], 1]),
            self._echo("object", {"o": obj, "x": "double"}, [{"n": 1, "s": "a"}, 1.5]),
            self._echo("map", {"m": Map(DataType.double), "x": "double"}, [{"k": 1.5}, 1.5]),
            self._echo("any type", {"z": AnyType(), "x": "double"}, [{"k": [1]}, 1.5]),
            Case("tensor", inputs=[[1.5, 2, 3], [4, 5, 6]]),
            Case("tensor of integers", inputs=[[[1, 2], [3, 4]]]),
            Case("named tensors", inputs={"left": [[1.5, 2.0]], "right": [1]}),
            Case("one unnamed", inputs=[1, 2]),
        ]

    def _hinted(self) -> list[Case]:
        self._pyfunc("list[str]", Texts(), example=["a", "bc"])
        self._pyfunc("list[dict[str, float]]", Scores(), example=[{"a": 1.0}])
        self._pyfunc("list[pydantic]", Visits(), example=[{"name": "Ann", "age": 3}])
        frame = pd.DataFrame({"a": [1.0, 2.0], "b": [0.5, 1.5]})
        self._pyfunc("DataFrame", Frames(), example=frame)
        self._pyfunc("chat", Chat())
        return [
            Case("list[str]", inputs=["abc", "ü"]),
            Case("list[dict[str, float]]", inputs=[{"a": 1.5, "b": 2.0}, {"a": 3.0}]),
            Case("list[pydantic]", inputs=[{"name": "Ann"}, {"name": "Bo", "tags": ["x"]}]),
            Case("DataFrame", {"a": "double", "b": "double"}, [[1.5, 2.0], [3.0, 4.5]]),
            Case("chat", inputs=["hello"]),
        ]
