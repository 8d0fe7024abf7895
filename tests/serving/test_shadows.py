"""Shadows get copies of requests; their answers and faults reach no caller."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.errors import InvalidInputError
from mlops.journal.records import ShadowPair, dropped_copies
from mlops.monitoring.shadows import shadow_reports
from mlops.protocols.base import Kind, ProtocolError, Records, Series
from mlops.serving.shadow_process import ShadowProcess, Way
from mlops.spec.deployment import Revision, Shadow
from mlops.spec.model import ModelVersion
from mlops.spec.server import Served
from tests.serving.models import ROWS, records
from tests.serving.server import Server, make_launch, running, served
from tests.waiting import wait_until

_TROUBLE = """
import os, sys, time, warnings
import mlflow

warnings.simplefilter("ignore")

class Trouble(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        acidity = float(model_input["fixed acidity"].iloc[0])
        print("a word on stdout")
        if acidity > 1000:
            os._exit(9)
        if acidity > 100:
            time.sleep(acidity)
        if acidity < 0:
            raise RuntimeError("out of order")
        return model_input["fixed acidity"] * 2

mlflow.models.set_model(Trouble())
"""


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that sleeps, raises or dies where its first column says so."""
    import mlflow.pyfunc

    folder = tmp_path_factory.mktemp("trouble")
    (folder / "trouble.py").write_text(_TROUBLE)
    with warnings.catch_warnings():
        # It advises type hints, which say nothing about trouble.
        warnings.simplefilter("ignore", UserWarning)
        mlflow.pyfunc.save_model(
            str(folder / "model"),
            python_model=str(folder / "trouble.py"),
            pip_requirements=["mlflow"],
        )
    return folder / "model"


def shadowed(base: Served, *shadows: tuple[str, Path, float]) -> Served:
    """The same arms with shadows."""
    made = tuple(
        Shadow(name, ModelVersion(name, f"{name}/7", str(path)), share)
        for name, path, share in shadows
    )
    spec = replace(base.revision.spec, shadows=made)
    paths = (*base.paths, *(str(path) for _, path, _ in shadows))
    return Served(Revision(base.revision.number, spec), paths)


@pytest.fixture(scope="module")
def server(
    models: dict[str, Path], trouble: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two arms, a shadow of a quarter of the requests, and one of all that can make trouble."""
    folder = tmp_path_factory.mktemp("shadowed")
    base = served(models, sticky_by="header:x-user")
    launch = make_launch(
        folder,
        shadowed(base, ("few", models["b"], 0.25), ("all", trouble, 1.0)),
    )
    with running(launch, folder) as process:
        yield process


def shadow_status(server: Server) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in server.admin("GET", "/status").json["shadows"]}


def settle(server: Server) -> None:
    """Wait until every copy has been answered."""
    wait_until(lambda: server.metrics()[("mlops_shadow_waiting", ())] == 0)


def pairs(server: Server) -> list[ShadowPair]:
    journal = server.journal()
    found = list(journal.shadow_pairs([1]))
    journal.close()
    return found


def test_copies_are_journaled_and_count_nowhere_else(server: Server) -> None:
    before, seen = len(pairs(server)), shadow_status(server)
    answers = [server.predict(records(ROWS)) for _ in range(80)]
    forced = server.predict(records(ROWS), x_mlops_arm="a")
    assert {answer.status for answer in [*answers, forced]} == {200}
    settle(server)
    status = shadow_status(server)
    assert status["all"]["requests"] - seen["all"]["requests"] == 80
    # 80 draws with 0.25: outside of this once in ten million.
    few = status["few"]["requests"] - seen["few"]["requests"]
    assert 2 <= few <= 42
    # They are written after what was served.
    wait_until(lambda: len(pairs(server)) - before == 80 + few)
    fresh = pairs(server)[before:]
    of_few, of_all = ([pair for pair in fresh if pair.shadow == index] for index in (0, 1))
    assert len(of_all) == 80
    assert of_all[0].predictions == [2 * row[0] for row in ROWS]
    direct = server.predict(records(ROWS), x_mlops_arm="b").json["predictions"]
    assert of_few[0].predictions == pytest.approx(direct)
    assert all(pair.served_status == 200 for pair in of_all)
    assert {pair.arm for pair in of_all} == {0, 1}
    # The arms' own series know nothing of it.
    labels = {label for name, label in server.metrics() if name == "mlops_requests_total"}
    assert {dict(each)["arm"] for each in labels} == {"a", "b"}


def test_the_same_unit_and_the_same_retry_are_copied_always_or_never(server: Server) -> None:
    for headers in ({"x_user": "ann"}, {"idempotency_key": "order-7"}):
        before = shadow_status(server)["few"]["requests"]
        for _ in range(12):
            server.predict(records(ROWS), **headers)
        settle(server)
        assert shadow_status(server)["few"]["requests"] - before in (0, 12)


def test_a_shadow_that_raises_or_dies_is_counted(server: Server) -> None:
    before = len(pairs(server))

    def predict(acidity: float) -> int:
        row = {"fixed acidity": acidity, "alcohol": 1.0, "sulphates": 1.0}
        status = server.predict([row]).status
        settle(server)
        return status

    # It raises; it dies; it is started again, and what came meanwhile has waited.
    assert [predict(-1), predict(2000), predict(1)] == [200] * 3

    def statuses() -> list[int]:
        return [pair.status for pair in pairs(server)[before:] if pair.shadow == 1]

    wait_until(lambda: len(statuses()) == 3)
    assert statuses() == [500, 500, 200]


def test_a_slow_shadow_is_not_felt(server: Server) -> None:
    """It sleeps for the rest of the test; its queue fills, copies are dropped, answers come."""

    def p99_ms(rows: list[dict[str, Any]]) -> float:
        times = []
        for _ in range(400):
            started = time.perf_counter()
            assert server.predict(rows).status == 200
            times.append(time.perf_counter() - started)
        return float(np.quantile(times, 0.99)) * 1000

    quick = records(ROWS[:1])
    asleep = [{**quick[0], "fixed acidity": 101.0}]
    p99_ms(quick)
    settle(server)
    without = p99_ms(quick)
    settle(server)
    dropped = shadow_status(server)["all"]["dropped"]
    assert server.predict(asleep).status == 200
    with_it = p99_ms(quick)
    now = shadow_status(server)["all"]
    assert now["dropped"] - dropped > 100
    journal = server.journal()
    assert journal.losses()[dropped_copies("all", now["version"])] == now["dropped"]
    reported = {each.name: each.dropped for each in shadow_reports(journal)}
    assert reported["all"] == now["dropped"]
    journal.close()
    # It sleeps for 101 s; waiting for it would have taken seconds at least.
    assert with_it < max(20 * without, 500)


def test_a_swap_keeps_or_ends_the_process_of_a_shadow(server: Server, tmp_path: Path) -> None:
    """Last of those that need the server, as it ends it."""
    first = server.launch.served
    spec = first.revision.spec
    own = children(server.process.pid)
    assert len(own) == 2
    again = replace(first, revision=Revision(2, replace(spec, sticky_by="header:u")))
    assert server.swap(again).status == 200
    assert children(server.process.pid) == own
    few = shadow_status(server)["few"]["requests"]
    for _ in range(40):
        server.predict(records(ROWS))
    wait_until(lambda: shadow_status(server)["few"]["requests"] > few)
    broken = shadowed(replace(first, revision=Revision(3, replace(spec, shadows=()))))
    broken = shadowed(
        replace(broken, paths=first.paths[:2]), ("missing", tmp_path / "nowhere", 1.0)
    )
    refused = server.swap(broken)
    assert refused.status == 409
    assert "nowhere" in refused.json["error"]["message"]
    assert children(server.process.pid) == own
    one = replace(spec, shadows=spec.shadows[:1])
    fewer = Served(Revision(4, one), first.paths[:3])
    assert server.swap(fewer).status == 200
    wait_until(lambda: len(children(server.process.pid)) == 1)
    (child,) = children(server.process.pid)
    # However the server ends, no process of a shadow is left.
    server.kill()
    wait_until(lambda: not Path(f"/proc/{child}").exists())


def children(pid: int) -> list[int]:
    """Processes of shadows that a process has started and that live."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    threads = Path(f"/proc/{pid}/task").iterdir()
    for thread in threads:
        with contextlib.suppress(FileNotFoundError):  # it has ended
            found += (thread / "children").read_text().split()
    return sorted({int(child) for child in found if not _consumes(child)})


def _consumes(pid: str) -> bool:
    """Whether a process is the one of the journal's consumers, which every server has."""
    try:
        return "mlops.consumers" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


# The process by itself.


@pytest.fixture
def process(trouble: Path) -> Iterator[Callable[[], ShadowProcess]]:
    opened = []

    def start() -> ShadowProcess:
        opened.append(ShadowProcess(Way(str(trouble))))
        opened[-1].wait()
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def ask(process: ShadowProcess, acidity: float) -> Sequence[float]:
    rows = [{"fixed acidity": acidity, "alcohol": 1.0, "sulphates": 1.0}]
    answer = process.predict(Records(rows), {})
    # The pipe keeps a pandas Series what it is.
    assert isinstance(answer, Series)
    return list(answer["fixed acidity"])


def test_a_process_that_hangs_is_killed(process: Callable[[], ShadowProcess]) -> None:
    shadow = process()
    # The first answer takes as long as MLflow needs to wake up.
    assert ask(shadow, 3.0) == [6.0]
    shadow._deadline_s = 0.3
    with pytest.raises(ProtocolError) as caught:
        ask(shadow, 101.0)
    assert caught.value.kind is Kind.DEADLINE
    # The next request waits for another.
    shadow._deadline_s = 30.0
    assert ask(shadow, 3.0) == [6.0]


def test_closing_ends_what_it_is_at(process: Callable[[], ShadowProcess]) -> None:
    shadow = process()
    kinds = []

    def wait() -> None:
        try:
            ask(shadow, 101.0)
        except ProtocolError as error:
            kinds.append(error.kind)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    # Ctrl-C in the terminal of the server is not meant for it.
    child = shadow._child
    assert child is not None
    os.kill(child.pid, signal.SIGINT)
    shadow.close()
    thread.join(10)
    assert kinds == [Kind.MODEL_FAILED]
    assert child.poll() is not None


def test_a_shadow_is_executed_as_the_spec_says(trouble: Path) -> None:
    process = ShadowProcess(Way(str(trouble), runtime="nativ"))
    with pytest.raises(InvalidInputError, match="There is no runtime called `nativ`"):
        process.wait()
