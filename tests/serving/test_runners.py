"""Each arm has its own queue, limit and deadline: one that hangs does not delay the others."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError, Rows
from mlops.serving.runners import InlineRunner, Runner, ThreadRunner
from tests.hostile.wire import Wire, request
from tests.serving.server import Server, make_launch, running, served
from tests.waiting import until

SLEEPER = """
import time
import mlflow.pyfunc

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        time.sleep(float(model_input["seconds"].iloc[0]))
        return model_input["seconds"].to_numpy()

mlflow.models.set_model(Model())
"""
ROW = Rows([[1.0]])


class Gate:
    """A model that answers once it is let; it counts its calls at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.open.wait(20)
        with self._lock:
            self.at_once -= 1
        return np.zeros(payload.n_rows)


async def ask(runner: Runner, deadline_s: float = 30.0) -> Prediction:
    answer = runner.predict(ROW, {}, deadline_s)
    return await answer if isinstance(answer, Coroutine) else answer


def kind_of(result: Prediction | BaseException) -> Kind | None:
    return result.kind if isinstance(result, ProtocolError) else None


def test_a_request_that_would_wait_too_long_is_not_queued() -> None:
    """An overload refuses some at once and keeps the others' wait short."""

    async def flood() -> None:
        gate = Gate()
        gate.open.set()
        runner = ThreadRunner(gate, "a", threads=2)
        await ask(runner)
        # As if the model took that long; how busy this machine is says nothing then.
        runner._each_s = 0.2
        gate.open.clear()
        asked = [asyncio.create_task(ask(runner)) for _ in range(60)]
        await until(lambda: sum(task.done() for task in asked) + runner.stats.running > 40)
        refused = [task for task in asked if task.done()]
        assert {kind_of(task.exception()) for task in refused} == {Kind.BUSY}  # type: ignore[arg-type]
        # Ten waits of 0.2 s in two threads are a second.
        assert runner.stats.waiting <= 11
        gate.open.set()
        await asyncio.gather(*asked, return_exceptions=True)
        # Everybody is served again as soon as the crowd has gone.
        await until(lambda: not runner.stats.waiting)
        assert kind_of(await ask(runner)) is None
        runner.close()

    asyncio.run(flood())


def test_calls_at_once_and_in_the_queue_are_bounded() -> None:
    async def flood() -> None:
        gate = Gate()
        runner = ThreadRunner(gate, "a", threads=2, max_waiting=3)
        asked = [asyncio.create_task(ask(runner)) for _ in range(9)]
        await until(lambda: runner.stats.running == 2)
        # What came while all threads were busy waits, as far as there is room.
        await until(lambda: runner.stats.rejected)
        rejected = [task for task in asked if task.done()]
        assert {kind_of(task.exception()) for task in rejected} == {Kind.BUSY}  # type: ignore[arg-type]
        assert runner.stats.waiting <= 3
        gate.open.set()
        results = await asyncio.gather(*asked, return_exceptions=True)
        served_ = [each for each in results if not isinstance(each, BaseException)]
        assert len(served_) + len(rejected) == 9
        assert len(served_) >= 3
        assert gate.most == 2
        await until(lambda: not runner.stats.running and not runner.stats.waiting)
        assert sum(runner.stats.queued.buckets) == len(served_)
        assert sum(runner.stats.model.buckets) == len(served_)
        runner.close()

    asyncio.run(flood())


def test_a_deadline_counts_the_time_in_the_queue() -> None:
    async def wait() -> None:
        gate = Gate()
        runner = ThreadRunner(gate, "a", threads=1)
        first = asyncio.create_task(ask(runner))
        await until(lambda: runner.stats.running == 1)
        with pytest.raises(ProtocolError) as caught:
            await ask(runner, 0.05)
        assert caught.value.kind is Kind.DEADLINE
        assert runner.stats.waiting == 0
        assert runner.stats.expired == 1
        gate.open.set()
        await first
        # Its caller had gone, so the model never saw it.
        await until(lambda: not runner.stats.running)
        assert sum(runner.stats.model.buckets) == 1
        runner.close()

    asyncio.run(wait())


def test_an_arm_whose_threads_all_hang_is_reported() -> None:
    async def hang() -> None:
        gate = Gate()
        runner = ThreadRunner(gate, "a", threads=2, deadline_s=0.05)
        assert runner.fault == ""
        results = await asyncio.gather(*(ask(runner) for _ in range(3)), return_exceptions=True)
        assert {kind_of(each) for each in results} == {Kind.DEADLINE}
        await until(lambda: "all 2 calls" in runner.fault)
        gate.open.set()
        await until(lambda: not runner.stats.running)
        assert runner.fault == ""
        runner.close()

    asyncio.run(hang())


def test_a_model_that_gets_slow_leaves_the_event_loop() -> None:
    class Slow:
        def __init__(self) -> None:
            self.seconds = 0.0
            self.threads: set[str] = set()

        def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
            time.sleep(self.seconds)
            self.threads.add(threading.current_thread().name)
            return np.zeros(payload.n_rows)

    async def slow() -> None:
        model = Slow()
        runner = InlineRunner(model, ThreadRunner(model, "a"))
        for seconds in (0.0, 0.06, 0.0, 0.06):
            model.seconds = seconds
            assert isinstance(runner.predict(ROW, {}), np.ndarray)
        # One slow call may be the machine's fault; two in a row are the model's.
        assert runner.kind == "inline"
        assert isinstance(runner.predict(ROW, {}), np.ndarray)
        assert runner.kind == "thread"
        model.threads.clear()
        await ask(runner)
        assert all(name.startswith("arm-a") for name in model.threads)
        runner.close()

    asyncio.run(slow())


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two arms of one model that sleeps as long as it is told."""
    folder = tmp_path_factory.mktemp("sleepers")
    script = folder / "sleeper.py"
    script.write_text(SLEEPER)
    models = {}
    for name in ("hangs", "works"):
        models[name] = folder / name
        mlflow.pyfunc.save_model(
            models[name], python_model=str(script), pip_requirements=["mlflow"]
        )
    with running(make_launch(folder, served(models)), folder) as server:
        yield server


def test_a_slow_answer_comes_before_that_to_the_next_request(house: Server) -> None:
    with Wire(house) as wire:
        for seconds in (0.3, 0.0, 0.1):
            body = json.dumps({"dataframe_records": [{"seconds": seconds}]}).encode()
            wire.send(request("/invocations", body, b"X-Mlops-Arm: works"))
        answers = [wire.reply().json["predictions"] for _ in range(3)]
    assert answers == [[0.3], [0.0], [0.1]]


def test_one_arm_that_hangs_delays_no_other(house: Server) -> None:
    def hang() -> None:
        with pytest.raises(OSError, match=r"timed out|reset|closed"):
            post(house, "hangs", 600.0, timeout=4)

    hanging = [threading.Thread(target=hang, daemon=True) for _ in range(8)]
    for thread in hanging:
        thread.start()
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        arms = house.admin("GET", "/status").json["arms"]
        under_way = {arm["name"]: arm["running"] + arm["waiting"] for arm in arms}
        if under_way["hangs"] == 8:
            break
        time.sleep(0.05)
    assert under_way["hangs"] == 8
    started = time.monotonic()
    for _ in range(5):
        status, request_id = post(house, "works", 0.0)
        assert status == 200
        feedback = {"request_id": request_id, "reward": 1}
        assert house.post("/feedback", feedback).status == 200
        assert house.get("/ready").status == 200
    # They would wait for the deadline of 30 s otherwise.
    assert time.monotonic() - started < 10
    metrics = house.metrics()
    assert metrics["mlops_model_duration_seconds_count", (("arm", "works"), ("version", "works/1"))]
    # The threads of the model still hang; the process ends all the same.
    started = time.monotonic()
    assert house.stop() == 0
    assert time.monotonic() - started < 15


def post(server: Server, arm: str, seconds: float, timeout: float = 30) -> tuple[int, str]:
    body = json.dumps({"dataframe_records": [{"seconds": seconds}]}).encode()
    headers = {"content-type": "application/json", "x-mlops-arm": arm}
    url = f"http://127.0.0.1:{server.port}/invocations"
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return reply.status, reply.headers["x-mlops-request-id"]
