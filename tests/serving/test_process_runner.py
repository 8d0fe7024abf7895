"""A model in a process of its own: it answers as here, may die, and may be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from mlops.errors import InvalidInputError
from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError, Records
from mlops.runtimes.base import LoadedModel
from mlops.runtimes.isolated import IsolatedModel, child
from mlops.runtimes.load import load_model
from mlops.serving.runners import ProcessRunner
from tests.serving.server import make_launch, running, served
from tests.waiting import until, wait_until

STRANGE = """
import os, time
import mlflow.pyfunc

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        word = str(model_input["word"].iloc[0])
        if word == "sleep":
            time.sleep(600)
        if word == "die":
            os._exit(7)
        if word == "key":
            raise KeyError("k")
        if word == "value":
            raise ValueError("no such rows")
        if word == "print":
            print("this is no answer")
        return model_input["number"].to_numpy() * 2

mlflow.models.set_model(Model())
"""
_DEADLINE_S = 3.0
_ASK = {"dataframe_records": [{"word": "", "number": 1.0}]}


def rows(word: str, *numbers: float) -> Payload:
    return Records([{"word": word, "number": number} for number in numbers or (1.0,)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("strange")
    (base / "strange.py").write_text(STRANGE)
    example = pd.DataFrame({"word": [""], "number": [1.0]})
    mlflow.pyfunc.save_model(
        base / "model",
        python_model=str(base / "strange.py"),
        signature=infer_signature(example, np.array([1.0])),
        input_example=example,
        pip_requirements=["mlflow"],
    )
    return base / "model"


@pytest.fixture(scope="module")
def there(folder: Path) -> Iterator[LoadedModel]:
    loaded = load_model(folder, python=sys.executable, slots=2)
    assert loaded.process is not None
    yield loaded
    loaded.process.close()


def process_of(loaded: LoadedModel) -> IsolatedModel:
    assert loaded.process is not None
    return loaded.process


def runner_of(loaded: LoadedModel) -> ProcessRunner:
    return ProcessRunner(loaded.model, process_of(loaded), "b", deadline_s=_DEADLINE_S)


def said(call: Callable[[], Prediction]) -> Any:
    try:
        return np.asarray(call()).tolist()
    except ProtocolError as error:
        return error.kind, error.message


async def ask(runner: ProcessRunner, word: str, deadline_s: float = 30.0) -> Any:
    try:
        return np.asarray(await runner.predict(rows(word), {}, deadline_s)).tolist()
    except ProtocolError as error:
        return error.kind


async def sleep_in(runner: ProcessRunner, count: int) -> None:
    """Have this many calls hang; one that gets no thread before its deadline never runs."""
    while runner.stats.running < count and not runner.fault:
        assert await ask(runner, "sleep") is Kind.DEADLINE


async def again(runner: ProcessRunner) -> None:
    """Wait until it answers."""
    deadline = time.monotonic() + 120
    while runner.fault:
        assert time.monotonic() < deadline, runner.fault
        assert await ask(runner, "") is Kind.NOT_READY
        await asyncio.sleep(0.05)
    assert await ask(runner, "", 20) == [2.0]


def test_it_answers_and_fails_as_in_this_process(folder: Path, there: LoadedModel) -> None:
    here = load_model(folder)
    assert there.path_taken == "pyfunc"
    assert there.notes[0].startswith("runs in its own environment: Python 3.")
    for payload in (rows("", 1.5, -2.0), rows("key"), rows("value"), rows("print", 4.0)):
        expected = said(lambda payload=payload: here.model.predict(payload, {}))  # type: ignore[misc]
        assert said(lambda payload=payload: there.model.predict(payload, {})) == expected  # type: ignore[misc]
    misfit = Records([{"word": "", "number": "many"}])
    refused = said(lambda: there.model.predict(misfit, {}))
    assert refused == said(lambda: here.model.predict(misfit, {}))
    assert refused[0] is Kind.MISMATCH


def test_a_process_that_dies_fails_what_it_had_and_is_started_again(there: LoadedModel) -> None:
    async def die() -> None:
        runner = runner_of(there)
        before = process_of(there).pid
        slow, dies = await asyncio.gather(ask(runner, "sleep", 20), ask(runner, "die", 20))
        assert (slow, dies) == (Kind.MODEL_FAILED, Kind.MODEL_FAILED)
        await until(lambda: bool(runner.fault))
        assert runner.fault == "`b`: Its process ended (exit code 7), and is started again."
        await again(runner)
        assert process_of(there).pid != before

    asyncio.run(die())


def test_a_process_whose_calls_all_hang_is_killed(there: LoadedModel) -> None:
    async def hang() -> None:
        runner = runner_of(there)
        before = process_of(there).pid
        await sleep_in(runner, 1)
        await asyncio.sleep(0.4)
        # One of two hangs: the other answers.
        assert await ask(runner, "", 20) == [2.0]
        assert runner.fault == ""
        await sleep_in(runner, 2)
        await until(lambda: "was killed" in runner.fault)
        await again(runner)
        assert process_of(there).pid != before
        assert runner.stats.running == 0

    asyncio.run(hang())


class _Hung:
    """A process whose calls hang until it is killed."""

    slots, fault = 1, ""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        self.killed.wait(120)
        raise ProtocolError(Kind.MODEL_FAILED, "It was killed.")

    def end_process(self, fault: str) -> None:
        self.fault = fault
        self.killed.set()

    def close(self) -> None:
        self.killed.set()


class _SlowToStart(ProcessRunner):
    """Its threads are late, as on a busy machine."""

    def _take(self) -> Any:
        time.sleep(0.5)
        return super()._take()


def test_a_call_that_got_its_thread_late_is_seen_to_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.serving.runners.process._GRACE_S", 0.05)

    async def hang() -> None:
        process: Any = _Hung()
        runner = _SlowToStart(process, process, "b", deadline_s=2.0)
        while not runner.stats.running:
            assert await ask(runner, "") is Kind.DEADLINE
        # Less than the deadline ago; no other call comes that would have it looked at.
        await until(lambda: "was killed" in runner.fault)
        await until(lambda: not runner.stats.running)
        runner.close()

    asyncio.run(hang())


def test_it_ends_when_its_socket_is_closed(folder: Path) -> None:
    model = IsolatedModel(sys.executable, folder)
    model._closed.set()
    # As the kernel does with a server that is killed.
    model._child.close()
    assert model._child.process.wait(20) == 0


def test_a_model_that_cannot_be_loaded_says_why(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "MLmodel").write_text((folder / "MLmodel").read_text())
    # The code that it names is not there.
    with pytest.raises(InvalidInputError, match=r"in its own environment: .*strange\.py"):
        load_model(broken, python=sys.executable)
    with pytest.raises(InvalidInputError, match="No such file"):
        load_model(folder, python=str(tmp_path / "no-python"))


def test_closing_ends_the_process_for_good(folder: Path) -> None:
    model = IsolatedModel(sys.executable, folder)
    model.close()
    assert model._child.process.wait(20) == -signal.SIGKILL
    with pytest.raises(OSError, match="No such process"):
        os.kill(model.pid, 0)


def test_the_server_is_not_ready_while_a_process_is_away(folder: Path, tmp_path: Path) -> None:
    both = served({"a": folder, "b": folder}, reward="")
    with running(
        make_launch(tmp_path, replace(both, pythons=(sys.executable, ""))), tmp_path
    ) as server:
        paths = [f"/v2/models/wine/versions/{arm}/ready" for arm in "ab"]
        assert [server.get(path).status for path in ("/ready", *paths)] == [200, 200, 200]
        (process,) = _children(server.process.pid)
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: server.get("/ready").status == 503)
        assert "`a`: Its process ended" in server.get("/ready").body.decode()
        assert server.get(paths[1]).status == 200
        assert server.post("/invocations", _ASK, x_mlops_arm="b").status == 200
        wait_until(lambda: server.get("/ready").status == 200)
        assert server.post("/invocations", _ASK, x_mlops_arm="a").status == 200


def _children(pid: int) -> list[int]:
    """Return the processes that a server has started for its models."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    found = [int(each) for task in tasks for each in (task / "children").read_text().split()]
    isolated = Path(child.__file__).name
    return [each for each in found if isolated in Path(f"/proc/{each}/cmdline").read_text()]
