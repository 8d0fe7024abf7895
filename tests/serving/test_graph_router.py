"""A ROUTER of a graph of Seldon Core v1, called as its executor calls one.

The executor is a Go program of the operator's image and cannot run here; the calls are those of
`executor/api/rest/client.go` and `executor/predictor/predictor_process.go` of seldon-core 1.17.1.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.kubernetes import config
from mlops.serving.pod import Config, Places, route_launch
from mlops.spec.deployment import DeploymentSpec, Revision
from tests.deployment.specs import spec
from tests.fakes import until
from tests.serving.server import KEY, Server, make_launch, running, served

_NUMBERS = itertools.count()
_POLICY = "linear-greedy features=alcohol floor=0.1 warm_up=5"


def _graph(policy: str) -> DeploymentSpec:
    # Three children, which RANDOM_ABTEST could not have; none of them is fetched.
    return replace(spec(0.4, 0.3, 0.3), policy=policy, reward="given")


class Executor:
    """Calls a ROUTER node, as far as this graph needs it."""

    def __init__(self, server: Server, node: str = "router") -> None:
        self.server, self.node = server, node

    def predict(self, alcohol: float) -> dict[str, Any]:
        """Route a request; return what the graph would answer."""
        puid = f"puid{next(_NUMBERS):020}"
        message = {
            "meta": {"puid": puid}, "data": {"names": ["alcohol"], "ndarray": [[alcohol]]}
        }  # fmt: skip
        reply = self.server.post("/route", message, seldon_puid=puid)
        assert reply.status == 200, reply.body
        ((branch,),) = reply.json["data"]["ndarray"]
        # The child is a server of its own, whose request id is not this one's.
        path = {f"child-{branch}": "wine/1", "mlops_request_id": "x" * 48}
        meta = {"puid": puid, "routing": {self.node: branch}, "requestPath": path}
        return {"meta": meta, "data": {"names": [], "ndarray": [[5.5]]}}

    def feedback(self, response: dict[str, Any], reward: float) -> None:
        sent = {"request": {}, "response": response, "reward": reward}
        reply = self.server.post("/send-feedback", sent)
        assert reply.status == 200, reply.body
        assert reply.json["meta"]["tags"]["accepted"] == 1


def test_requests_follow_the_rewards_and_the_state_outlives_the_pod(
    postgresql_url: str, tmp_path: Path
) -> None:
    graph = _graph(_POLICY)
    given = Config(Revision(1, replace(graph, name=f"graph-{next(_NUMBERS)}")), "all")
    (tmp_path / "request-id-key").write_bytes(KEY)
    pod = Places(key=tmp_path, run=tmp_path, host="127.0.0.1")
    environ = {"MLOPS_JOURNAL_URL": postgresql_url}
    launch = route_launch(given, pod, environ)
    free = make_launch(tmp_path, served({}))
    assert launch.journal_url == "env:MLOPS_JOURNAL_URL"
    launch = replace(launch, port=free.port, workers=1, journal_url=postgresql_url)
    best = {9.0: 0, 14.0: 2}
    with running(launch, tmp_path) as server:
        executor = Executor(server)
        for number in range(90):
            alcohol = (9.0, 14.0)[number % 2]
            response = executor.predict(alcohol)
            branch = response["meta"]["routing"]["router"]
            executor.feedback(response, float(branch == best[alcohol]))
        journal = server.journal()

        def seen() -> int:
            return sum((journal.epochs([1])[-1].parameters or {}).get("seen", ()))

        until(lambda: seen() >= 88, 20)
        until(lambda: _shares(executor)[0][0] > 10, 20)
        assert server.get("/v2/health/ready").status == 200
        drawn = list(journal.drawn_requests([1]))
        known = {each.epoch: each.probabilities for each in journal.epochs([1])}
        assert all(each.propensity == known[each.epoch][each.arm] for each in drawn)
        journal.close()
    # Another pod, or another replica, knows what this one has learnt.
    with running(launch, tmp_path) as server:
        until(lambda: _shares(Executor(server))[1][2] > 10, 20)


def _shares(executor: Executor) -> list[Counter[int]]:
    """Return which of three children 15 requests of each kind go to."""
    return [
        Counter(executor.predict(alcohol)["meta"]["routing"]["router"] for _ in range(15))
        for alcohol in (9.0, 14.0)
    ]


def test_what_the_pod_reads_is_what_is_rendered() -> None:
    graph = _graph("thompson")
    document = config(graph, RenderOptions(revision=3))
    assert document["revision"] == 3
    assert document["spec"]["policy"] == "thompson"


@pytest.mark.parametrize("port", ["", "9001"])
def test_it_listens_where_the_executor_calls(tmp_path: Path, port: str) -> None:
    given = Config(Revision(1, _graph("thompson")), "all")
    environ = {"PREDICTIVE_UNIT_HTTP_SERVICE_PORT": port}
    launch = route_launch(given, Places(run=tmp_path), environ)
    assert launch.port == int(port or 8080)
    assert launch.served.paths == ("", "", "")
