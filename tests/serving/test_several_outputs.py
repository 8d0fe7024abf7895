"""Truth of models with several outputs, through HTTP: by row, by output, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import Json, Reply, Server, make_launch, observations, running, served

NAMES = ("load MW", "temp °C")


def save_two_outputs(path: Path, shift: float) -> Path:
    """Save a model of two named outputs that answers lists."""
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    features = pd.DataFrame(np.random.default_rng(1).uniform(0, 12, (40, 3)), columns=COLUMNS)
    answers = pd.DataFrame(
        {NAMES[0]: 5 * features["alcohol"] + shift, NAMES[1]: features["sulphates"] - shift}
    )
    mlflow.sklearn.save_model(
        LinearRegression().fit(features, answers),
        str(path),
        signature=infer_signature(features, answers),
        input_example=features.head(2),
        pip_requirements=["scikit-learn"],
    )
    return path


@pytest.fixture(scope="module")
def energy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("energy")
    models = {name: save_two_outputs(folder / name, i) for i, name in enumerate("ab")}
    with running(make_launch(folder, served(models), grpc=True), folder) as server:
        yield server


def predict(server: Server, rows: int = 1) -> Reply:
    reply = server.predict(records(ROWS[:rows]))
    assert reply.status == 200
    return reply


def stored(server: Server, reply: Reply) -> list[Any]:
    """Return the observations of a request, of any type: their truths are lists."""
    return [*observations(server, reply)]


@pytest.mark.parametrize(
    "truth",
    [
        [31.5, 7], [[31.5, 7]], {"temp °C": 7, "load MW": 31.5},
        [{"temp °C": 7, "load MW": 31.5}],
    ],
)  # fmt: skip
@pytest.mark.parametrize("row", [None, 0])
def test_the_truth_of_one_row(energy: Server, truth: Json, row: int | None) -> None:
    reply = predict(energy)
    if row is not None and isinstance(truth[0] if isinstance(truth, list) else 0, list | dict):
        truth = truth[0]
    body = {"request_id": reply.request_id, "row": row, "truth": truth}
    answer = energy.post("/feedback", body)
    assert (answer.status, answer.json["counts"]) == (200, {"accepted": 1})
    assert answer.json["outcome"]["arm"] == reply.arm
    assert "warnings" not in answer.json
    (seen,) = stored(energy, reply)
    assert (seen.row, seen.truth) == (0, [31.5, 7.0])
    assert energy.post("/feedback", body).json["counts"] == {"duplicate": 1}
    other = {**body, "truth": [31.5, 8]}
    assert energy.post("/feedback", other).status == 409


def test_truths_of_many_rows(energy: Server) -> None:
    for truth in (
        [[1, 2], None, [5, 6]],
        [{NAMES[0]: 1, NAMES[1]: 2}, None, dict.fromkeys(NAMES, 5)],
    ):
        reply = predict(energy, rows=3)
        answer = energy.post("/feedback", {"request_id": reply.request_id, "truth": truth})
        assert answer.json == {"counts": {"accepted": 2}}
        seen = stored(energy, reply)
        assert [o.row for o in seen] == [0, 2]
        assert seen[0].truth == [1, 2]
        assert seen[0].prediction == pytest.approx(reply.json["predictions"][0])


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    "truth",
    [
        [1, 2, 3, 4], [[1, 2, 3]], [[1, 2], [3, 4]], {"load MW": 1, "temp": 2}, [1, None],
        {"load MW": 1, "temp °C": 2, "wind": 3},
    ],
)  # fmt: skip
def test_what_fits_neither_rows_nor_outputs_is_refused_as_a_whole(
    energy: Server, rows: int, truth: Json
) -> None:
    reply = predict(energy, rows)
    answer = energy.post("/feedback", {"request_id": reply.request_id, "truth": truth})
    assert (answer.status, answer.json["counts"]) == (422, {"misfit": 1})
    (problem,) = answer.json["problems"]
    assert problem["index"] == 0
    one = "the truth of a row is a list of 2 or an object with `load MW`, `temp °C`"
    if rows == 1:
        assert problem["error"] == f"the request has 1 row, and its model 2 outputs: {one}"
    else:
        assert problem["error"].endswith(f"{one}, of all rows a list of 3 such")
    assert stored(energy, reply) == []
    right = [[1, 2]] * rows
    again = energy.post("/feedback", {"request_id": reply.request_id, "truth": right})
    assert again.json["counts"] == {"accepted": rows}


@pytest.mark.parametrize(
    "truth",
    [
        [[1, 2], [3]],
        [[1, 2], 3],
        [[1, None]],
        [[1, [2]]],
        {"a": 1},
        {"a": 1, "b": {}},
        [[1, "x" * 10_001]],
    ],
)
def test_what_is_no_truth_is_malformed(energy: Server, truth: Json) -> None:
    reply = predict(energy)
    answer = energy.post("/feedback", {"request_id": reply.request_id, "truth": truth})
    assert answer.status == 400
    assert set(answer.json) == {"error"}


def test_each_of_many_is_told_by_its_place(energy: Server) -> None:
    replies = [predict(energy) for _ in range(4)]
    truths: list[Json] = [[1, 2], [1, 2, 3], {"x": 1, "y": 2}, [[1, 2]]]
    outcomes = [
        {"request_id": reply.request_id, "truth": truth}
        for reply, truth in zip(replies, truths, strict=True)
    ]
    answer = energy.post("/feedback", {"outcomes": outcomes})
    assert answer.status == 200
    assert answer.json["counts"] == {"accepted": 2, "misfit": 2}
    # A list counts as one outcome a value, since it is read before its request is known.
    assert [each["index"] for each in answer.json["problems"]] == [2, 5]
    assert [len(stored(energy, reply)) for reply in replies] == [1, 0, 0, 1]


def test_a_list_with_a_null_is_no_truth_of_outputs(energy: Server) -> None:
    reply = predict(energy)
    for body in ({"reward": [0.5, 0.5]}, {"truth": [5, None], "reward": 1}):
        answer = energy.post("/feedback", {"request_id": reply.request_id, **body})
        assert (answer.status, answer.json["counts"]) == (422, {"misfit": 1})
    outcomes = [{"request_id": reply.request_id, "truth": t} for t in ([5, None], [None, 6])]
    answer = energy.post("/feedback", {"outcomes": outcomes})
    assert answer.json["counts"] == {"misfit": 2}
    assert [each["index"] for each in answer.json["problems"]] == [0, 1]
    assert stored(energy, reply) == []


def test_names_of_outputs_have_a_bound(energy: Server) -> None:
    body = {"request_id": predict(energy).request_id, "truth": {"k" * 10_001: 1, "b": 2}}
    answer = energy.post("/feedback", body)
    assert (answer.status, "10,000 characters" in answer.json["error"]) == (400, True)


def test_rewards_follow_from_all_outputs(energy: Server) -> None:
    before = energy.metrics()
    reply = predict(energy)
    load, temp = reply.json["predictions"][0]
    energy.post("/feedback", {"request_id": reply.request_id, "truth": [load + 1, temp - 3]})
    after, labels = energy.metrics(), (("arm", reply.arm), ("version", f"{reply.arm}/1"))
    total = "mlops_reward_negative_total", labels
    assert after[total] - before.get(total, 0) == pytest.approx((1 + 9) / 2)


def test_no_output_is_too_large(energy: Server) -> None:
    reply = predict(energy)
    body = {"request_id": reply.request_id, "truth": [[1, 1e200]]}
    answer = energy.post("/feedback", body)
    assert (answer.status, answer.json["counts"]) == (422, {"out_of_range": 1})


def test_seldons_truth_of_several_outputs(energy: Server) -> None:
    reply = energy.post("/api/v1.0/predictions", {"data": {"ndarray": ROWS[:2]}})
    truth = {"data": {"names": ["t:0", "t:1"], "ndarray": [[1, 2], [3, 4]]}}
    answer = energy.post("/api/v1.0/feedback", {"response": reply.json, "truth": truth})
    assert answer.json["meta"]["tags"] == {"accepted": 2}
    assert [o.truth for o in stored(energy, reply)] == [[1, 2], [3, 4]]
