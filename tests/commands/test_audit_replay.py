"""`mlops audit replay`: the same answer again, and why that arm; or why that cannot be told."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.registry import open_registry
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def replayed(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A test with sticky users whose split has changed; models of its own."""
    folder = tmp_path_factory.mktemp("replayed")
    opened = open_shop(trained_wine, folder / "wine")
    try:
        opened.ok("deploy", "--ab", "modelA", "modelB", "--sticky-by", "header:x-user")
        yield opened
    finally:
        opened.close()


def replay(shop: Shop, request_id: str, code: int, *words: str) -> dict[str, Any]:
    said = shop.run("audit", "replay", "--request-id", request_id, *words, "--json")
    assert said.code == code, said
    fits("audit-replay", said.document)
    return said.document


@contextlib.contextmanager
def journal(shop: Shop) -> Iterator[sqlite3.Connection]:
    path = shop.folder / ".mlops" / "journal" / f"{shop.name}.db"
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection, connection:
        yield connection


def ask(shop: Shop, path: str = "/invocations", body: object = None, **headers: str) -> str:
    """Ask, and wait until the decision is in the journal."""
    before = _count(shop)
    _, said = shop.post(path, body or shop.state.request, **headers)
    wait_until(lambda: _count(shop) > before)
    return said["x-mlops-request-id"]


def _count(shop: Shop) -> int:
    with journal(shop) as connection:
        (count,) = connection.execute("select count(*) from decisions").fetchone()
        return int(count)


def test_the_same_answer_and_the_same_arm(replayed: Shop) -> None:
    found = replay(replayed, ask(replayed), 0)
    assert found["result"] == "same"
    answer, choice = found["answer"], found["choice"]
    assert answer["logged"] == answer["replayed"]
    assert answer["content"] == answer["content_then"]
    assert answer["content"].startswith("sha256:")
    assert answer["runtime"][0] == answer["runtime"][1] != ""
    assert (choice["how"], choice["epoch"], choice["propensity"]) == ("drawn", 0, 0.5)
    assert (choice["number"] < 0.5) is (found["arm"] == "modelA")
    assert "0.5" in choice["reason"]
    said = replayed.ok("audit", "replay", "--request-id", found["request_id"]).out
    assert "to the last digit" in said
    assert "the same now" in said


@pytest.mark.parametrize("protocol", ["records", "rows", "seldon", "v2"])
def test_whatever_protocol_brought_the_rows(replayed: Shop, protocol: str) -> None:
    request = replayed.state.request
    assert request is not None
    split = request["dataframe_split"]
    names, row = split["columns"], split["data"][0]
    rows = [row, [cell + 0.125 for cell in row], [cell * 1.5 for cell in row]]
    records = [dict(zip(names, each, strict=True)) for each in rows]
    path, body = {
        "records": (
            "/invocations",
            {"dataframe_records": records},
        ),
        "rows": ("/invocations", {"instances": rows}),
        "seldon": ("/api/v1.0/predictions", {"data": {"names": names, "ndarray": rows}}),
        "v2": (
            "/v2/models/wine/infer",
            {
                "inputs": [
                    {
                        "name": "input",
                        "datatype": "FP64",
                        "shape": [3, len(names)],
                        "data": [cell for r in rows for cell in r],
                    }
                ]
            },
        ),
    }[protocol]
    found = replay(replayed, ask(replayed, path, body), 0)
    assert len(found["answer"]["replayed"]) == 3
    assert found["answer"]["largest_difference"] == 0


def test_an_arm_that_a_tester_chose(replayed: Shop) -> None:
    found = replay(replayed, ask(replayed, x_mlops_arm="modelB"), 0)
    assert (found["choice"]["how"], found["choice"]["propensity"]) == ("forced", 0)
    assert found["arm"] == "modelB"


def test_a_person_who_was_there_before_keeps_the_arm(replayed: Shop) -> None:
    first = {name: ask(replayed, x_user=name) for name in ("ann", "bob", "cem")}
    arms = {
        name: replay(replayed, first[name], 0, "--unit", name)["arm"] for name in ("ann", "bob")
    }
    assert set(arms.values()) <= {"modelA", "modelB"}
    assert replay(replayed, ask(replayed, idempotency_key="order-7"), 0)["result"] == "same"
    other = replay(replayed, first["ann"], 10, "--unit", "bob")
    assert "another hash" in other["choice"]["reason"]
    assert other["answer"]["result"] == "same"
    replayed.ok("deploy", "--ab", "modelA", "modelB", "--split", "1/99")
    try:
        for name, request_id in first.items():
            again = replay(replayed, ask(replayed, x_user=name), 0, "--unit", name)
            assert (again["choice"]["how"], again["choice"]["propensity"]) == ("kept", 0.5)
            assert "under revision 1 first" in again["choice"]["reason"]
            assert again["arm"] == replay(replayed, request_id, 0)["arm"]
        new = replay(replayed, ask(replayed, x_user="somebody new"), 0)
        assert new["choice"]["how"] == "drawn"
        assert new["choice"]["propensity"] == {"modelA": 0.01, "modelB": 0.99}[new["arm"]]
        # A retry after the split has changed: the journal has what was answered first.
        retried, _ = replayed.ask(idempotency_key="order-7")
        told = replay(replayed, retried, 11)
        assert (told["answer"]["result"], told["choice"]["result"]) == ("unknown", "unknown")
        assert "Idempotency-Key was answered first" in told["choice"]["reason"]
    finally:
        replayed.ok("rollback")


def test_a_journal_that_somebody_changed(replayed: Shop) -> None:
    request_id = ask(replayed)
    with journal(replayed) as connection:
        connection.execute(
            "update decisions set prediction = prediction + 1 "
            "where seq = (select max(seq) from decisions)"
        )
    found = replay(replayed, request_id, 10)
    assert (found["answer"]["result"], found["choice"]["result"]) == ("differs", "same")
    assert found["answer"]["largest_difference"] == pytest.approx(1)
    assert "now [" in replayed.run("audit", "replay", "--request-id", request_id).out
    with journal(replayed) as connection:
        connection.execute(
            "update decisions set arm = 1 - arm where seq = (select max(seq) from decisions)"
        )
    found = replay(replayed, request_id, 10)
    assert (found["answer"]["result"], found["choice"]["result"]) == ("unknown", "differs")


def test_what_cannot_be_told(replayed: Shop) -> None:
    request_id = ask(replayed, x_user="fay")
    with journal(replayed) as connection:
        connection.execute(
            "update decisions set features = null where seq = (select max(seq) from decisions)"
        )
    found = replay(replayed, request_id, 11)
    assert (found["answer"]["result"], found["choice"]["result"]) == ("unknown", "same")
    assert "forgotten" in found["answer"]["reason"]
    assert found["answer"]["logged"] is not None
    with journal(replayed) as connection:
        connection.execute("delete from decisions where seq = (select max(seq) from decisions)")
    found = replay(replayed, request_id, 11)
    assert found["answer"]["logged"] is None
    # The unit is in the row that is gone.
    assert found["choice"]["result"] == "unknown"
    forged = request_id[:-1] + ("A" if request_id[-1] != "A" else "B")
    assert replayed.run("audit", "replay", "--request-id", forged).code == 3
    assert replayed.run("audit", "replay").code == 2


def test_other_files_than_were_deployed(replayed: Shop, tmp_path: Path) -> None:
    """A registered version means the same for ever by agreement only."""
    copy = tmp_path / "model"
    shutil.copytree(replayed.state.launch.served.paths[0], copy)
    client = open_registry(replayed.settings)
    version = client.create_model_version("wine", source=copy.as_uri()).version
    own = replace(replayed, name="own")
    own.ok("deploy", "--model", f"wine/{version}", "--name", "own")
    request_id = ask(own)
    words = ("audit", "replay", "own", "--request-id", request_id, "--json")
    assert own.ok(*words).document["answer"]["result"] == "same"
    (copy / "MLmodel").write_text((copy / "MLmodel").read_text() + "\n# changed\n")
    said = own.run(*words)
    assert said.code == 11
    found = said.document["answer"]
    assert found["reason"] == "the files of the model are not those that were deployed"
    assert found["content"] != found["content_then"]
    own.ok("stop", "own")
    shutil.rmtree(copy)
    assert "cannot be loaded" in own.run(*words).document["answer"]["reason"]


def test_the_server_need_not_run(replayed: Shop) -> None:
    request_id = ask(replayed)
    replayed.ok("stop", "wine")
    try:
        assert replay(replayed, request_id, 0)["result"] == "same"
    finally:
        replayed.ok("start", "wine")
