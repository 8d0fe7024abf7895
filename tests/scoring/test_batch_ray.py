"""`mlops batch --backend ray`, on a real cluster of this machine: the same bytes as without."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from mlops.errors import InvalidInputError
from mlops.registry.stores import open_store
from mlops.scoring import Draw, Job, Scorer, find_inputs, score
from mlops.scoring.job import Ask
from mlops.scoring.ray import Model, OnRay
from mlops.tables.signature import Column, Signature
from tests.fixtures_deployment import Shop
from tests.scoring.test_batch import rows_of, write
from tests.waiting import wait_until

PATIENCE_S = 300


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    # Of what runs there; short, as the names of sockets in it may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(
            prefix="mlops-ray-", dir="/tmp", ignore_cleanup_errors=True
        ) as place,
        pytest.MonkeyPatch.context() as patch,
    ):
        folder = Path(place)
        patch.setenv("TMPDIR", str(folder))
        # Ray's own processes get time to start where others use the processors.
        patch.setenv("RAY_raylet_start_wait_time_s", str(PATIENCE_S))
        patch.setenv("RAY_agent_register_timeout_ms", str(PATIENCE_S * 1000))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        try:
            yield cluster
        finally:
            cluster.shutdown()
        # Ray kills its workers, and no model of theirs stays behind.
        wait_until(lambda: not [*folder.glob("mlops-*")], PATIENCE_S)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parts_are_to_the_byte_those_of_this_machine_and_go_on_there(
    shop: Shop, cluster: Any, tmp_path: Path
) -> None:
    rows = [{"id": str(n) if n > 70 else None, **row} for n, row in enumerate(rows_of(shop, 100))]
    write(tmp_path / "rows.parquet", rows)
    words = ("batch", "wine", "--data", f"{tmp_path}/rows.parquet", "--keep", "id", "--all-arms",
             "--chunk-rows", "15", "--json", "--out")  # fmt: skip
    here = shop.ok(*words, f"{tmp_path}/here").document
    whole = contents(tmp_path / "here")
    assert len(whole) == 8
    # A job that was ended on one continues on the other.
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    for number in (0, 1, 2, 4, 5, 6):
        (tmp_path / f"there/part-00000-000000{number}.parquet").unlink()
    there = (*words, f"{tmp_path}/there", "--backend", "ray", "--ray-address", cluster.address)
    assert shop.ok(*there).document == here | {
        "out": f"{tmp_path}/there", "resumed": 15, "by_arm": ANY,
    }  # fmt: skip
    assert contents(tmp_path / "there") == whole


def load(model: Model) -> Ask:
    """Load what answers its process, and waits for a file; it does not take the number 13."""
    marks = (model.folder / "marks").read_text()

    def ask(payload: Any, n_rows: int) -> list[str]:
        if 13 in payload.values["x"]:
            raise InvalidInputError("no 13")
        Path(marks, str(os.getpid())).touch()
        while not Path(marks, "go").exists():
            time.sleep(0.05)
        return [f"{cell:g}" for cell in payload.values["x"]]

    return ask


@pytest.fixture
def execute(cluster: Any, tmp_path: Path) -> OnRay:
    for folder in ("model", "marks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "model/marks").write_text(str(tmp_path / "marks"))
    return OnRay([Model("m", tmp_path / "model", "pyfunc")], load, cluster.address)


def done(tmp_path: Path, execute: OnRay, cells: list[Any]) -> Path:
    lines = [f'{{"x": {cell}}}\n' for cell in cells]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    inputs = find_inputs([str(tmp_path / "rows.jsonl")], pytest.fail)
    scorer = Scorer("m", "m/1", ("m",), lambda *_: [], Signature((Column("x", "long"),)))
    job = Job((scorer,), Draw((1.0,)), rows=2, form="csv")
    store = open_store(str(tmp_path / "out"), Shop(tmp_path).settings)
    score(job, inputs, store, execute=execute)
    return tmp_path / "out"


def test_a_chunk_whose_worker_dies_is_scored_again(execute: OnRay, tmp_path: Path) -> None:
    marks = tmp_path / "marks"

    def kill() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not (pids := [int(path.name) for path in marks.iterdir()]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(pids[0], signal.SIGKILL)
        (marks / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    out = done(tmp_path, execute, [*range(8)])
    killer.join()
    parts = sorted(out.glob("part-*"))
    lines = [line.split(",")[-1] for part in parts for line in part.read_text().splitlines()[1:]]
    assert lines == [str(n) for n in range(8)]


@pytest.mark.parametrize(
    ("cells", "said"), [([0, 1, 2, 3, 13], "no 13"), ([0, 1, 2, 3, "{"], "line 5")]
)
def test_parts_before_a_row_that_is_wrong_are_written(
    execute: OnRay, tmp_path: Path, cells: list[Any], said: str
) -> None:
    (tmp_path / "marks/go").touch()
    with pytest.raises(InvalidInputError, match=said):
        done(tmp_path, execute, cells)
    assert len([*(tmp_path / "out").glob("part-*")]) == 2


def test_without_ray_it_says_what_to_install(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ("batch", "modelA", "--data", "x.csv", "--out", str(tmp_path / "out"))
    said = shop.run(*words, "--backend", "ray", "--json")
    assert said.code == 3
    assert "[ray]" in said.error["hint"]
    assert shop.run(*words, "--ray-address", "ray://head:10001").code == 2
