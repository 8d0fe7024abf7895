"""Models of every sort behind the doors, and the native path against pyfunc's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlops.protocols.base import Columns, Kind, Payload, ProtocolError, Records, Rows, Tensor
from mlops.protocols.mlflow_scoring import MlflowScoringCodec
from mlops.runtimes.base import LoadedModel, ServableModel
from mlops.runtimes.load import load_model
from mlops.runtimes.pyfunc import PyfuncRuntime
from tests.serving.models import COLUMNS, ROWS, records, save_sklearn
from tests.serving.server import Json, Server, make_launch, running, served

# MLflow's advice for saving a model: an example, no columns of whole numbers.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*An input example was not provided:UserWarning",
    "ignore:.*integer column:UserWarning",
)


# The native path against pyfunc's.

good_cells = st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6)
bad_cells = st.none() | st.booleans() | st.text(max_size=3) | st.just([1.0])
names = st.permutations([*COLUMNS, "colour"]) | st.permutations(COLUMNS)


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    """Rows in any form: any order, extra and missing columns, and now and then a bad cell."""
    columns = draw(names)[: draw(st.sampled_from([4, 4, 4, 3, 2]))]
    n = draw(st.integers(1, 3))
    rows: list[list[Json]] = [[draw(good_cells) for _ in columns] for _ in range(n)]
    if draw(st.integers(0, 3)) == 0:
        rows[draw(st.integers(0, n - 1))][draw(st.integers(0, len(columns) - 1))] = draw(bad_cells)
    match draw(st.sampled_from(["rows", "unnamed", "records", "columns", "tensor"])):
        case "rows":
            return Rows(rows, tuple(columns))
        case "unnamed":
            return Rows(rows)
        case "records":
            return Records([dict(zip(columns, row, strict=True)) for row in rows])
        case "columns":
            cells = (list(column) for column in zip(*rows, strict=True))
            return Columns(dict(zip(columns, cells, strict=True)))
    numbers = [[cell if type(cell) in (int, float) else 0 for cell in row] for row in rows]
    return Tensor(np.array(numbers, dtype=float))


@pytest.fixture(scope="module")
def both(models: dict[str, Path]) -> tuple[ServableModel, ServableModel]:
    """One model by either path."""
    import mlflow.pyfunc

    loaded = load_model(models["a"])
    assert loaded.path_taken == "numpy"
    return loaded.model, PyfuncRuntime(mlflow.pyfunc.load_model(str(models["a"])), loaded.signature)


def ask(model: ServableModel, payload: Payload) -> list[float] | Kind:
    try:
        return np.asarray(model.predict(payload, {})).tolist()  # type: ignore[no-any-return]  # floats
    except ProtocolError as error:
        return error.kind if error.message else Kind.MODEL_FAILED


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None
)
@given(payload=payloads())
@example(payload=Rows([[None, 1.0, 1.0]], COLUMNS))
@example(payload=Rows([[True, 1.5, 1.0]], COLUMNS))
@example(payload=Rows([["1.5", 1.5, 1.0]], COLUMNS))
@example(payload=Columns({"fixed acidity": [1, 2], "alcohol": [True, 1.5], "sulphates": [1, 2]}))
@example(payload=Records([{**records(ROWS)[0], "colour": "red"}]))
def test_both_paths_say_the_same(
    both: tuple[ServableModel, ServableModel], payload: Payload
) -> None:
    native, pyfunc = (ask(model, payload) for model in both)
    if isinstance(pyfunc, Kind) or isinstance(native, Kind):
        assert native == pyfunc is Kind.MISMATCH
    else:
        assert native == pytest.approx(pyfunc, rel=1e-12)


# A signature's types, where JSON has but one sort of number.


def _typed(folder: Path, kind: str, *, tensor: bool = False) -> LoadedModel:
    """A model of one column that answers its rows, and loads by pyfunc only."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    class Mirror(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is untyped
        # MLflow reads annotations, and warns of those it does not know.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return np.asarray(model_input)[:, 0]

    spec = TensorSpec(np.dtype(kind), (-1, 1)) if tensor else ColSpec(kind, "x")
    mlflow.pyfunc.save_model(
        str(folder / "model"),
        python_model=Mirror(),
        signature=ModelSignature(Schema([spec])),
        pip_requirements=["mlflow"],
    )
    loaded = load_model(folder / "model")
    assert loaded.path_taken == "pyfunc"
    return loaded


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        ("double", [1.5, 2, 0, -3, 2**40, None], ["x", [1.5]]),
        ("float", [1.5, 2, 0, -3, True, "1.5"], ["x", [1.5]]),
        ("long", [2, 0, -3, 2**40, 2.0, True, "2"], [1.5, "x", None, [1], 2.0**63]),
        ("integer", [2, 0, -3, 2.0], [2**40, 1.5, "x", None]),
        ("string", ["red", "", "6", 6, 1.5], [[1], {}]),
        ("boolean", [True, False, 0, 1.0], ["x", 2, 1.5, None]),
        ("datetime", ["2026-01-31", "2026-01-31T12:00:00"], ["x", {}, 20260131]),
        ("binary", ["aGVsbG8="], [1.5, "\x00"]),
    ],
)
def test_cells_fit_their_column_or_are_refused(
    tmp_path: Path, kind: str, taken: list[Any], refused: list[Any]
) -> None:
    model = _typed(tmp_path, kind).model
    for cell in taken:
        forms: list[Payload] = [
            Rows([[cell]], ("x",)),
            Rows([[cell]]),
            Records([{"x": cell}]),
            Columns({"x": [cell]}),
            Columns({"x": np.array([[cell]])}),
        ]
        for form in forms:
            model.predict(form, {})
    for cell in refused:
        # Alone, and beside a good one, which pandas would make a column of objects.
        for form in (Rows([[cell]], ("x",)), Records([{"x": cell}, {"x": taken[0]}])):
            assert ask(model, form) is Kind.MISMATCH, (cell, form)


def test_times_of_a_column_may_have_several_forms_and_zones(tmp_path: Path) -> None:
    loaded = _typed(tmp_path, "datetime")
    cells = ["2026-01-31T12:00:00Z", "2026-01-31 13:00:00.000+01:00", "20260131T1200", None, ""]

    def sent(media: str, body: bytes) -> Payload:
        return MlflowScoringCodec().decode(body, {"content-type": media}, loaded.signature).payload

    def forms(cells: list[Json]) -> Iterator[Payload]:
        rows = [{"x": cell} for cell in cells]
        documents: list[dict[str, Json]] = [
            {"dataframe_split": {"columns": ["x"], "data": [[cell] for cell in cells]}},
            {"dataframe_records": rows},
            *({key: value} for key in ("inputs", "instances") for value in (rows, {"x": cells})),
            {"inputs": cells},
        ]
        yield from (sent("application/json", json.dumps(each).encode()) for each in documents)
        yield sent("text/csv", "\n".join(["x", *(str(cell or '""') for cell in cells)]).encode())
        yield Columns({"x": cells})
        yield Rows([[cell] for cell in cells])

    noon = np.datetime64("2026-01-31T12:00:00")
    for form in forms(cells):
        answer = np.asarray(loaded.model.predict(form, {}), dtype="datetime64[ns]")
        assert (answer[:3] == noon).all(), form
        assert np.isnat(answer[3:]).all(), form
    for form in forms([cells[0], "31.01.2026"]):
        with pytest.raises(ProtocolError, match=r"`x` takes times in.*row 1 has `31.01.2026`\.$"):
            loaded.model.predict(form, {})


@pytest.mark.parametrize("kind", ["float64", "float32", "int64"])
def test_whole_numbers_fit_a_tensor(tmp_path: Path, kind: str) -> None:
    model = _typed(tmp_path, kind, tensor=True).model
    for form in (
        Tensor([[1], [2]]),
        Tensor(np.array([[1.0], [2.0]], dtype=np.float32)),
        Rows([[1], [2]]),
        Rows([[1], [2]], ("a",)),
    ):
        assert ask(model, form) == [1, 2]
    assert ask(model, Rows([["x"], ["y"]])) is Kind.MISMATCH
    if kind == "int64":
        assert ask(model, Tensor([[1.5]])) is Kind.MISMATCH


# Through HTTP.


def _save_table(path: Path) -> Path:
    """A model that answers a table of two columns, and fails, or falls short, when told to."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class Table(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is untyped
        # MLflow reads annotations, and warns of those it does not know.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            alcohol = model_input["alcohol"].to_numpy()
            if (alcohol == 100).any():
                raise RuntimeError("out of spirits")
            if (alcohol == 200).any():
                return alcohol[:0]
            colours = ["red" if cell > 10 else "white" for cell in alcohol]
            return pd.DataFrame({"colour": colours, "p": alcohol / 100})

    mlflow.pyfunc.save_model(
        str(path),
        python_model=Table(),
        signature=ModelSignature(Schema([ColSpec("double", name) for name in COLUMNS])),
        pip_requirements=["mlflow"],
    )
    return path


def _save_classifier(path: Path, labels: list[Any]) -> Path:
    import pandas as pd
    from sklearn.neighbors import KNeighborsClassifier

    features = pd.DataFrame(ROWS, columns=COLUMNS)
    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(features, labels)
    return save_sklearn(path, model, features)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Three models that answer a table, words and whole numbers; rewards are exact matches."""
    folder = tmp_path_factory.mktemp("mixed")
    models = {
        "table": _save_table(folder / "m1"),
        "words": _save_classifier(folder / "m2", ["red", "white", "rosé", "red"]),
        "numbers": _save_classifier(folder / "m3", [1, 2, 3, 1]),
    }
    with running(make_launch(folder, served(models, reward="exact")), folder) as server:
        yield server


WORDS = ["red", "white", "rosé", "red"]


@pytest.mark.parametrize(("arm", "labels"), [("words", WORDS), ("numbers", [1, 2, 3, 1])])
def test_labels_come_as_they_are(mixed: Server, arm: str, labels: list[Any]) -> None:
    body: Json = {"inputs": [{"name": "x", "shape": [4, 3], "datatype": "FP64", "data": ROWS}]}
    output = mixed.post("/v2/models/wine/infer", body, x_mlops_arm=arm).json["outputs"][0]
    assert output["data"] == labels
    assert output["datatype"] == ("BYTES" if arm == "words" else "INT64")
    body = {"data": {"ndarray": ROWS}}
    answer = mixed.post("/api/v1.0/predictions", body, x_mlops_arm=arm).json
    assert answer["data"]["ndarray"] == labels
    assert mixed.predict(records(ROWS), x_mlops_arm=arm).json == {"predictions": labels}


def test_a_table_comes_as_a_table(mixed: Server) -> None:
    rows = [{"colour": "white", "p": 0.094}, {"colour": "red", "p": 0.125}]
    asked = records([ROWS[0], ROWS[2]])
    assert mixed.predict(asked, x_mlops_arm="table").json == {"predictions": rows}
    body = {"instances": asked}
    assert mixed.post("/v1/models/wine:predict", body, x_mlops_arm="table").json == {
        "predictions": rows
    }
    body = {"jsonData": asked}
    data = mixed.post("/api/v1.0/predictions", body, x_mlops_arm="table").json["data"]
    assert data == {"names": ["colour", "p"], "ndarray": [["white", 0.094], ["red", 0.125]]}
    columns = [
        {"name": name, "shape": [2], "datatype": "FP64", "data": [row[name] for row in asked]}
        for name in COLUMNS
    ]
    reply = mixed.post("/v2/models/wine/infer", {"inputs": columns}, x_mlops_arm="table").json
    assert [(o["name"], o["datatype"], o["data"]) for o in reply["outputs"]] == [
        ("colour", "BYTES", ["white", "red"]),
        ("p", "FP64", [0.094, 0.125]),
    ]


def test_whole_numbers_stand_for_doubles(mixed: Server) -> None:
    reply = mixed.predict([dict.fromkeys(COLUMNS, 12)], x_mlops_arm="table")
    assert reply.status == 200, reply.body
    assert reply.json["predictions"][0]["colour"] == "red"


FAILING: list[tuple[str, Json]] = [
    ("/invocations", {"instances": [[1, 100, 1]]}),
    ("/v1/models/wine:predict", {"instances": [[1, 100, 1]]}),
    ("/api/v1.0/predictions", {"data": {"ndarray": [[1, 100, 1]]}}),
    (
        "/v2/models/wine/infer",
        {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 100, 1]}]},
    ),
]


@pytest.mark.parametrize(("path", "body"), FAILING)
def test_a_model_that_fails_is_told_in_the_protocols_words(
    mixed: Server, path: str, body: Json
) -> None:
    reply = mixed.post(path, body, x_mlops_arm="table")
    assert reply.status == 500
    assert "RuntimeError: out of spirits" in reply.body.decode()
    document = reply.json
    if path == "/invocations":
        assert document["error_code"] == "INTERNAL_ERROR"
    elif path == "/api/v1.0/predictions":
        assert document["status"]["reason"] == "MICROSERVICE_INTERNAL_ERROR"
    else:
        assert set(document) == {"error"}
    # It was a decision, and has an id, like any other.
    assert reply.arm == "table"
    assert reply.request_id


def test_too_few_answers_are_served_as_mlflow_serves_them(mixed: Server) -> None:
    reply = mixed.post("/invocations", {"instances": [[1, 200, 1]]}, x_mlops_arm="table")
    assert (reply.status, reply.json) == (200, {"predictions": []})


def test_errors_are_counted_in_the_journal(mixed: Server) -> None:
    before = mixed.journal()
    errors = sum(traffic.errors for traffic in before.traffic())
    before.close()
    mixed.post(*FAILING[0], x_mlops_arm="table")
    after = mixed.journal()
    assert sum(traffic.errors for traffic in after.traffic()) == errors + 1
    after.close()


def test_accuracy_comes_from_labels(mixed: Server) -> None:
    right, wrong = 0, 0
    while right < 3 or wrong < 1:
        reply = mixed.predict(records(ROWS[:1]))
        if reply.arm != "words":
            continue
        truth = "red" if right < 3 else "white"
        right, wrong = right + (truth == "red"), wrong + (truth == "white")
        body = {"request_id": reply.request_id, "truth": truth}
        assert mixed.post("/feedback", body).json["counts"] == {"accepted": 1}
    metrics = mixed.metrics()
    labels = (("arm", "words"), ("version", "words/1"))
    assert metrics["mlops_accuracy", labels] == 0.75
    assert metrics["mlops_reward_positive_total", labels] == 3
    assert metrics["mlops_rewards_total", labels] == 4


def test_the_status_tells_the_path(mixed: Server) -> None:
    arms = {arm["name"]: arm["path_taken"] for arm in mixed.admin("GET", "/status").json["arms"]}
    assert arms["table"] == "pyfunc"
    # With `[fast]` ONNX Runtime may be the quicker of two that are right.
    assert {arms["words"], arms["numbers"]} <= {"native", "onnx"}


def test_a_page_of_documentation_comes_with_every_sort(mixed: Server) -> None:
    assert mixed.get("/docs").status == 200
    assert mixed.get("/openapi.json").json["openapi"].startswith("3.")
