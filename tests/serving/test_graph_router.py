"""A ROUTER of a graph of Seldon Core v1, called as its executor calls one.

The executor is a Go program of the operator's image and cannot run here; the calls are those of
`executor/api/rest/client.go` and `executor/predictor/predictor_process.go` of seldon-core 1.17.1.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.journal.sql import SqlJournal
from mlops.serving.pod import Config, Places, route_launch
from mlops.spec.deployment import DeploymentSpec, Revision
from mlops.spec.request_id import read
from tests import warm_start
from tests.deployment.specs import spec
from tests.environments import client_python
from tests.servers import unused_port
from tests.serving.server import KEY, Server, running
from tests.waiting import wait_until

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


@pytest.fixture(scope="module")
def router(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a ROUTER with three children, as its pod does."""
    folder = tmp_path_factory.mktemp("router")
    (folder / "request-id-key").write_bytes(KEY)
    given = Config(Revision(1, replace(_graph(_POLICY), name="graph")), "all")
    pod = Places(key=folder, run=folder, host="127.0.0.1")
    launch = route_launch(given, pod, {"MLOPS_JOURNAL_URL": postgresql_url})
    assert launch.journal_url == "env:MLOPS_JOURNAL_URL"
    launch = replace(launch, port=unused_port(), workers=1, journal_url=postgresql_url)
    with pytest.MonkeyPatch.context() as patch:
        warm_start.set_in_servers(patch, {"mlops.serving.consumer_process._DELAY_S": 0.1})
        with running(launch, folder) as server:
            yield server


def test_requests_follow_the_rewards(router: Server) -> None:
    best = {9.0: 0, 14.0: 2}
    executor = Executor(router)
    for number in range(90):
        alcohol = (9.0, 14.0)[number % 2]
        response = executor.predict(alcohol)
        branch = response["meta"]["routing"]["router"]
        executor.feedback(response, float(branch == best[alcohol]))
    journal = router.journal()
    wait_until(lambda: _seen(journal) >= 88)
    # 0.8 of the requests, and 0.1 for each of the others.
    wait_until(lambda: _shares(executor)[0][0] > 9)
    wait_until(lambda: _shares(executor)[1][2] > 9)
    assert router.get("/v2/health/ready").status == 200
    drawn = list(journal.drawn_requests([1]))
    known = {each.epoch: each.probabilities for each in journal.epochs([1])}
    assert all(each.propensity == known[each.epoch][each.arm] for each in drawn)
    journal.close()


_CLIENT = """
import json, sys
import numpy as np
from seldon_core.seldon_client import SeldonClient
from seldon_core.utils import seldon_message_to_json

client = SeldonClient(microservice_endpoint=sys.argv[1])
rows = np.array([[9.0]])
said = []
for payload in ("tensor", "ndarray"):
    answer = client.microservice(method="route", data=rows, names=["alcohol"], payload_type=payload)
    assert answer.success, answer.msg
    message = seldon_message_to_json(answer.response)
    fed = client.microservice_feedback(answer.request, answer.response, reward=0.5)
    assert fed.success, fed.msg
    said.append([message["data"]["ndarray"], message["meta"]["puid"]])
print(json.dumps(said))
"""


def test_seldons_own_client_routes_and_sends_feedback(router: Server) -> None:
    """Its client of microservices (seldon-core 1.18.2, BSL: in tests only) takes the answers."""
    python = client_python("seldon-client")
    where = f"127.0.0.1:{router.port}"
    done = subprocess.run(
        [python, "-W", "ignore", "-c", _CLIENT, where], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for ((branch,),), puid in json.loads(done.stdout):
        assert branch in (0, 1, 2)
        rid = read(KEY, puid)
        with contextlib.closing(router.journal()) as journal:
            (stored,) = [o for o in journal.observations() if o.nonce == rid.nonce]
        assert (stored.arm, stored.reward) == (branch, 0.5)


def test_it_predicts_nothing(router: Server) -> None:
    refused = router.predict([{"alcohol": 9.0}])
    assert refused.status == 404
    assert "ROUTER of a graph" in refused.body.decode()


def _seen(journal: SqlJournal) -> int:
    return sum((journal.epochs([1])[-1].parameters or {}).get("seen", ()))


def _shares(executor: Executor) -> list[Counter[int]]:
    """Return which of three children 15 requests of each kind go to."""
    return [
        Counter(executor.predict(alcohol)["meta"]["routing"]["router"] for _ in range(15))
        for alcohol in (9.0, 14.0)
    ]


@pytest.mark.parametrize("port", ["", "9001"])
def test_it_listens_where_the_executor_calls(tmp_path: Path, port: str) -> None:
    given = Config(Revision(1, _graph("thompson")), "all")
    environ = {"PREDICTIVE_UNIT_HTTP_SERVICE_PORT": port}
    launch = route_launch(given, Places(run=tmp_path), environ)
    assert launch.port == int(port or 8080)
    assert launch.served.paths == ("", "", "")
