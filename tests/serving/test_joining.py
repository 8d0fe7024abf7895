"""Requests that share a call of the model get exactly the answers they would get alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import mlflow.models
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError, Rows
from mlops.runtimes.base import Batch, LoadedModel, Runtime
from mlops.runtimes.load import load_model
from mlops.runtimes.matrix import Matrix
from mlops.serving.revision import runner_of
from mlops.serving.runners import GatheringRunner, InlineRunner, Runner, ThreadRunner
from mlops.tables.signature import Signature
from tests.serving.models import COLUMNS

Outcome: TypeAlias = "Prediction | Kind"


class Joined(Matrix):
    """Rows that may be joined."""

    key = "rows"


class Picky(Runtime):
    """Doubles a number; refuses a call with a negative one, fails with one beyond a hundred.

    A number between 50 and 60 makes the answer one for all rows, which cannot be split.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()

    def prepare(self, payload: Payload, parameters: Mapping[str, Any]) -> Batch:
        assert isinstance(payload, Rows)
        if any(len(row) != 1 for row in payload.values):
            raise ProtocolError(Kind.MISMATCH, "One column.")
        batch = Matrix if parameters else Joined
        return batch(np.array(payload.values, dtype=np.float64))

    def infer(self, batch: Batch) -> Prediction:
        assert isinstance(batch, Matrix)
        self.gate.wait(10)
        self.calls += 1
        values = batch.values[:, 0]
        if (values < 0).any():
            raise ProtocolError(Kind.MISMATCH, "Negative.")
        if (values > 100).any():
            raise ValueError("Too large.")
        if ((values > 50) & (values < 60)).any():
            return np.array([float(values.sum())])
        return values * 2


def alone(runtime: Runtime, rows: Rows, parameters: Mapping[str, Any]) -> Outcome:
    try:
        return runtime.predict(rows, parameters)
    except ProtocolError as error:
        return error.kind
    except ValueError:
        return Kind.MODEL_FAILED


async def ask(runner: Runner, rows: Rows, parameters: Mapping[str, Any]) -> Outcome:
    try:
        answer = runner.predict(rows, parameters)
        return await answer if isinstance(answer, Coroutine) else answer
    except ProtocolError as error:
        return error.kind


def same(first: Outcome, second: Outcome) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return first is second


def threads(runtime: Runtime) -> Runner:
    return ThreadRunner(runtime, "a", joins=True, threads=2)


def gathering(runtime: Runtime) -> Runner:
    return GatheringRunner(runtime, ThreadRunner(runtime, "a", joins=True))


MAKERS = [pytest.param(threads, id="threads"), pytest.param(gathering, id="gathering")]
NUMBER = st.one_of(
    st.floats(0, 49), st.floats(-9, -1), st.floats(51, 59), st.floats(101, 200), st.just(7.0)
)
ROW = st.one_of(st.lists(NUMBER, min_size=1, max_size=1), st.just([1.0, 2.0]))
REQUEST = st.tuples(
    st.lists(ROW, min_size=1, max_size=70).map(Rows), st.sampled_from([{}, {}, {"alone": 1}])
)


@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=60, deadline=None)
@given(requests=st.lists(REQUEST, min_size=1, max_size=12))
def test_each_caller_gets_its_own_answer(
    make: Callable[[Runtime], Runner], requests: Sequence[tuple[Rows, Mapping[str, Any]]]
) -> None:
    expected = [alone(Picky(), rows, parameters) for rows, parameters in requests]

    async def together() -> list[Outcome]:
        runner = make(Picky())
        try:
            return await asyncio.gather(*(ask(runner, *request) for request in requests))
        finally:
            runner.close()

    answers = asyncio.run(together())
    assert all(map(same, answers, expected)), (answers, expected)


@pytest.mark.parametrize("make", MAKERS)
def test_what_waits_shares_a_call_and_what_is_alone_has_its_own(
    make: Callable[[Runtime], Runner],
) -> None:
    async def flood() -> None:
        runtime = Picky()
        runner = make(runtime)
        assert same(await ask(runner, Rows([[1.0]]), {}), np.array([2.0]))
        assert runtime.calls == 1
        asked = [asyncio.create_task(ask(runner, Rows([[float(i)]]), {})) for i in range(40)]
        answers = await asyncio.gather(*asked)
        assert [float(np.asarray(answer)[0]) for answer in answers] == [2.0 * i for i in range(40)]
        # Two threads may each begin with one request.
        assert runtime.calls < 20
        assert runner.stats.calls == runtime.calls
        runner.close()

    asyncio.run(flood())


def test_a_forest_answers_many_callers_as_one(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    rows = pd.DataFrame(chance.uniform(0, 12, (200, 3)), columns=COLUMNS)
    forest = RandomForestRegressor(n_estimators=20, random_state=1).fit(rows, rows.sum(axis=1))
    mlflow.sklearn.save_model(
        forest,
        tmp_path / "forest",
        signature=mlflow.models.infer_signature(rows, forest.predict(rows)),
        input_example=rows.head(2),
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    loaded = load_model(tmp_path / "forest", "native")
    assert isinstance(loaded.model, Runtime)
    expected = [loaded.model.predict(Rows([row]), {}) for row in rows.to_numpy().tolist()]

    async def together(runner: Runner) -> list[Outcome]:
        asked = (ask(runner, Rows([row]), {}) for row in rows.to_numpy().tolist())
        answers = await asyncio.gather(*asked)
        runner.close()
        return answers

    for make in (threads, gathering):
        assert all(map(same, asyncio.run(together(make(loaded.model))), expected))


@pytest.mark.parametrize(
    ("row_ms", "joined_row_ms", "expected"),
    [
        (0.003, 0.001, InlineRunner),
        (0.4, 0.05, GatheringRunner),
        (0.4, 0.3, InlineRunner),
        (0.4, float("nan"), InlineRunner),
        (8.0, 0.5, ThreadRunner),
        (float("nan"), float("nan"), ThreadRunner),
    ],
)
def test_the_warm_up_decides(row_ms: float, joined_row_ms: float, expected: type) -> None:
    loaded = LoadedModel(
        Picky(), Signature(), "native", None, row_ms, (), joined_row_ms=joined_row_ms
    )
    runner = runner_of(loaded, "a")
    assert type(runner) is expected
    runner.close()
