"""A caller who asks is told, with the answer, whether a row is unlike the training data."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlops.protocols.base import Records
from mlops.serving import outlier_check
from mlops.serving.outlier_check import MAX_ROWS, OutlierCheck
from mlops.stats.outlier_document import OUTLIER_FILE
from tests.serving.models import COLUMNS, records, save_detector
from tests.serving.server import Json, Server

CALM, STRANGE = [5.0, 6.0, 7.0], [5.0, 6.0, 400.0]
_PATHS: dict[str, Json] = {
    "/invocations": lambda rows: {"dataframe_records": records(rows)},
    "/v1/models/wine:predict": lambda rows: {"instances": records(rows)},
    "/v2/models/wine/infer": lambda rows: {"inputs": [
        {"name": name, "datatype": "FP64", "shape": [len(rows), 1], "data": [r[at] for r in rows]}
        for at, name in enumerate(COLUMNS)
    ]},
    "/api/v1.0/predictions": lambda rows: {"data": {"ndarray": rows}},
}  # fmt: skip


@pytest.mark.parametrize("path", _PATHS)
def test_over_http(server: Server, path: str) -> None:
    def ask(rows: Json, **headers: str) -> tuple[str | None, str | None]:
        reply = server.post(path, _PATHS[path](rows), x_mlops_arm="a", **headers)
        assert reply.status == 200
        said = reply.headers
        return said.get("x-mlops-outlier"), said.get("x-mlops-outlier-p-value")

    for _ in range(2):
        flagged, p_value = ask([CALM, STRANGE], x_mlops_check_outlier="true")
        assert (flagged, float(p_value or 1) < 0.01) == ("true", True)
        flagged, p_value = ask([CALM], x_mlops_check_outlier="true")
        assert (flagged, float(p_value or 0) > 0.01) == ("false", True)
        # Other callers do not see it, nor pay for it.
        assert ask([STRANGE]) == ask([STRANGE], x_mlops_check_outlier="false") == (None, None)


def test_what_cannot_be_looked_at_is_answered_all_the_same(server: Server) -> None:
    def ask(rows: Json, arm: str) -> tuple[int, str | None]:
        reply = server.predict(rows, x_mlops_arm=arm, x_mlops_check_outlier="true")
        return reply.status, reply.headers.get("x-mlops-outlier")

    # The model of `b` has no detector; and a request that fails has no answer to be judged.
    assert ask(records([STRANGE]), "b") == (200, "unknown")
    assert ask([{"alcohol": 3.0}], "a") == (400, "unknown")
    assert ask(records([CALM] * (MAX_ROWS + 1)), "a") == (200, "unknown")
    assert ask([{**records([CALM])[0], "more": 1}], "a") == (200, "false")


def test_few_callers_wait_and_the_others_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[None] = []
    is_asked, go_on = threading.Event(), threading.Event()

    def smallest(*_: object) -> float:
        begun.append(None)
        is_asked.set()
        assert go_on.wait(120)
        return 0.5

    monkeypatch.setattr(outlier_check, "_path_of", lambda *_: "model")
    monkeypatch.setattr(outlier_check, "_smallest", smallest)

    async def ask() -> list[Json]:
        check: Json = OutlierCheck(lambda: None)  # type: ignore[arg-type,return-value]
        asking = [asyncio.create_task(check.of(None, None)) for _ in range(20)]
        waiting = set(asking)
        while len(waiting) > 5:
            done, waiting = await asyncio.wait(
                waiting, timeout=120, return_when=asyncio.FIRST_COMPLETED
            )
            assert done
        assert await asyncio.to_thread(is_asked.wait, 120)
        told = [each.result() for each in asking if each.done()]
        assert (len(told), len(begun)) == (15, 1)
        # Who hangs up makes way for another.
        next(each for each in reversed(asking) if not each.done()).cancel()
        await asyncio.sleep(0)
        asking.append(asyncio.create_task(check.of(None, None)))
        go_on.set()
        await asyncio.gather(*asking, return_exceptions=True)
        return [*told, asking[-1].result()]

    *told, last = asyncio.run(ask())
    assert told == [(("x-mlops-outlier", "unknown"),)] * 15
    assert dict(last)["x-mlops-outlier"] == "false"
    assert len(begun) == 5


def test_a_detector_that_cannot_be_read_is_read_again(tmp_path: Path) -> None:
    """As with too many open files, or storage that is away for a moment."""
    live: Json = SimpleNamespace(signature=SimpleNamespace(names=COLUMNS))

    def smallest() -> float | None:
        return outlier_check._smallest(str(tmp_path), live, lambda _: Records(records([STRANGE])))

    file = tmp_path / OUTLIER_FILE
    file.mkdir()
    assert smallest() is None
    file.rmdir()
    save_detector(tmp_path)
    assert (smallest() or 1) < 0.01
    # Once: it stays in memory.
    file.unlink()
    assert (smallest() or 1) < 0.01


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"{", b"[]"])
def test_a_file_that_is_no_detector_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / OUTLIER_FILE).write_bytes(content)
    for _ in range(2):
        assert outlier_check._detector(str(tmp_path)) is None
    (line,) = [each.getMessage() for each in caplog.records]
    assert str(tmp_path) in line


@pytest.fixture
def grpc_client(server: Server) -> Iterator[Json]:
    pytest.importorskip("grpc")
    from tests.serving.grpc_client import GrpcClient

    client = GrpcClient(server.launch.grpc_port)
    yield client
    client.close()


def test_over_grpc(grpc_client: Json) -> None:
    from tests.protocols.grpc_messages import message_of

    def ask(rows: Json, **metadata: str) -> tuple[str, dict[str, str]]:
        message = message_of(_PATHS["/v2/models/wine/infer"](rows), raw=False)
        reply = grpc_client.call("ModelInfer", message, x_mlops_arm="a", **metadata)
        return reply.code, reply.trailing

    for rows, flagged in (([CALM, STRANGE], "true"), ([CALM], "false")):
        code, trailing = ask(rows, x_mlops_check_outlier="true")
        assert (code, trailing["x-mlops-outlier"]) == ("OK", flagged)
        assert (float(trailing["x-mlops-outlier-p-value"]) <= 0.01) is (flagged == "true")
    assert "x-mlops-outlier" not in ask([STRANGE])[1]
