"""Feedback that comes after its window: stored, and its sender learns that it does not count."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from mlops.client import Client, Outcome
from mlops.spec.attribution import Attribution
from mlops.spec.request_id import mint
from tests.fixtures_training import Cli
from tests.journal.rows import decision
from tests.serving.models import ROWS, records
from tests.serving.server import KEY, Server, make_launch, served

_HOUR_MS = 3_600_000
_WHY = "feedback that comes after its window of 1h is stored and does not count"
_NONCES = count(1_000_000)


def old_id() -> str:
    """The id of a request from two hours ago, whose decision was lost."""
    time_ms = int(time.time() * 1000) - 2 * _HOUR_MS
    nonce = next(_NONCES).to_bytes(12, "big")
    return mint(KEY, nonce=nonce, time_ms=time_ms, revision=1, arm=0, propensity=0.5)


def test_senders_learn_that_feedback_does_not_count(
    models: dict[str, Path],
    tmp_path: Path,
    start: Callable[..., Server],
    cli: Cli,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = served(models, reward="given")
    spec = replace(plain.revision.spec, attribution=Attribution(window_s=3600.0))
    what = replace(plain, revision=replace(plain.revision, spec=spec))
    server = start(make_launch(tmp_path, what, grpc=True))

    # In time, nothing is said of a window.
    fresh = server.predict(records(ROWS[:1])).request_id
    answer = server.post("/feedback", {"request_id": fresh, "reward": 1.0}).json
    assert (answer["counts"], answer.keys()) == ({"accepted": 1}, {"counts", "outcome"})

    # Statuses are as before, so that clients go on.
    late = {"request_id": old_id(), "reward": 1.0}
    answer = server.post("/feedback", late).json
    assert answer["counts"] == {"unmatched": 1}
    assert (answer["after_window"], answer["warnings"]) == (1, [_WHY])
    # It is not told again, since the same may have come in time before.
    again = server.post("/feedback", late).json
    assert (again["counts"], again.get("after_window")) == ({"duplicate": 1}, None)

    # The time of the decision is what counts, also where a caller's own id names it.
    journal = server.journal()
    journal.append([decision(1, client_id="order-1")], [])
    journal.close()
    answer = server.post("/feedback", {"client_id": "order-1", "reward": 1.0}).json
    assert (answer["counts"], answer["after_window"]) == ({"accepted": 1}, 1)

    with Client(server.state.url) as client:
        sent = [Outcome(request_id=old_id(), reward=1.0) for _ in range(1_500)]
        told = client.send(sent)
        assert (dict(told.counts), told.after_window) == ({"unmatched": 1_500}, 1_500)
        assert told.warnings == (_WHY,)
        fresh = client.predict(records(ROWS[:1])).request_id
        assert client.feedback(fresh, reward=1.0).after_window == 0

    body = {"response": {"meta": {"puid": old_id()}}, "reward": 1.0}
    tags = server.post("/api/v1.0/feedback", body).json["meta"]["tags"]
    assert tags == {"unmatched": 1, "after_window": 1}

    _check_command(server, tmp_path, cli, capsys)


def _check_command(
    server: Server, folder: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ("feedback", "--url", server.state.url)
    assert cli(folder, *url, "--request-id", old_id(), "--reward", "1") == 0
    out, err = capsys.readouterr()
    assert "unmatched: arm a, revision 1, does not count: after the feedback window" in out
    assert _WHY in " ".join(err.split())
    file = folder / "late.csv"
    fresh = server.predict(records(ROWS[:1])).request_id
    file.write_text("\n".join(["request_id,reward", *(f"{each},1" for each in (fresh, old_id()))]))
    assert cli(folder, *url, "--data", str(file)) == 0
    out, err = capsys.readouterr()
    assert out.endswith("\n1 of them does not count: after the feedback window\n")
    assert _WHY in " ".join(err.split())
    assert cli(folder, *url, "--data", str(file), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["counts"], document["after_window"]) == ({"duplicate": 2}, 0)
