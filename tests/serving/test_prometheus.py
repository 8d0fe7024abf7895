"""A real Prometheus scrapes two replicas, and every query of rules and dashboard has an answer."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mlops.deployment.prometheus.alerts import alerts
from mlops.deployment.prometheus.dashboard import RATE, WINDOW, dashboard
from mlops.deployment.prometheus.files import RULES, on_machine
from mlops.deployment.prometheus.queries import ARM, Queries
from mlops.settings.platforms import MonitoringSettings
from mlops.spec import metrics as m
from mlops.spec.deployment import Arm, DeploymentSpec, Revision, Shadow
from mlops.spec.model import ModelVersion
from mlops.spec.server import Served
from tests.prometheus import Prometheus, Series, prometheus, require_prometheus
from tests.servers import unused_port
from tests.serving.models import ROWS, records
from tests.serving.server import Server, make_launch
from tests.waiting import wait_until

# Windows that a test can wait for.
OPTIONS = MonitoringSettings(feedback_within="3s")
REWARD = -0.25
QUERIES = Queries("wine")


@dataclass(frozen=True, slots=True)
class Shop:
    """Two replicas, one of whose arms is an endpoint that is away, and who watches them."""

    spec: DeploymentSpec
    replicas: tuple[Server, ...]
    watch: Prometheus

    def trade(self) -> None:
        """Every replica answers, gets feedback of both kinds, and refuses nonsense."""
        for replica in self.replicas:
            for number in range(4):
                reply = replica.predict(records(ROWS[:1]))
                if reply.status == 200:
                    said = {"truth": 6.5} if number % 2 else {"reward": REWARD}
                    replica.post("/feedback", {"request_id": reply.request_id, **said})
            replica.predict([{"alcohol": 1}])
            replica.call("POST", "/invocations", b"nonsense")


def _revision(models: dict[str, Path]) -> Served:
    far = f"v2+http://127.0.0.1:{unused_port()}/v2/models/wine"
    arms = (
        Arm("near", ModelVersion("near", "near/1", str(models["a"])), 0.5),
        Arm("far", ModelVersion(far, far, far), 0.5),
    )
    shadow = Shadow("try", ModelVersion("try", "try/1", str(models["b"])))
    spec = DeploymentSpec("wine", arms, shadows=(shadow,))
    return Served(Revision(3, spec), (str(models["a"]), "", str(models["b"])))


@pytest.fixture(scope="module")
def shop(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    require_prometheus()
    revision = _revision(models)
    spec = revision.revision.spec
    with contextlib.ExitStack() as stack:
        replicas = []
        for folder in (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")):
            replicas.append(Server(make_launch(folder, revision), folder))
            stack.callback(replicas[-1].kill)
        # It takes a while to look for its targets; meanwhile they start.
        targets = [f"127.0.0.1:{replica.launch.port}" for replica in replicas]
        rules = on_machine(spec, OPTIONS, targets[0], "")[RULES]
        watch = stack.enter_context(prometheus(*targets, rules=rules))
        for replica in replicas:
            replica.wait()
        found = Shop(spec, tuple(replicas), watch)
        _trade_until_watched(found)
        yield found


def _trade_until_watched(shop: Shop) -> None:
    """Go on until the slowest query, that of requests some seconds ago, has something to say."""
    slowest = QUERIES.grown(m.REQUESTS, "3s", "3s", code="2..")

    def watched() -> bool:
        shop.trade()
        time.sleep(0.2)
        return any(series.value > 0 for series in shop.watch.query(slowest))

    wait_until(watched)


def _is_measured(query: str) -> bool:
    """Whether a consumer beside the server measures it, which comes later than the rest."""
    return any(f"{family.name}{{" in query for family in m.READINGS)


def _answer(shop: Shop, query: str) -> list[Series]:
    """Go on until a query has an answer that is a number."""
    deadline = time.monotonic() + 120
    while True:
        found = shop.watch.query(query)
        if not all(math.isnan(series.value) for series in found):
            return found
        assert time.monotonic() < deadline, query
        shop.trade()
        time.sleep(0.2)


def test_what_a_consumer_measures_has_an_answer(shop: Shop) -> None:
    panels = [p for p in dashboard(shop.spec, QUERIES)["panels"] if p["type"] != "row"]
    measured = {t["expr"] for p in panels for t in p.get("targets", ()) if _is_measured(t["expr"])}
    measured |= {
        condition.query
        for alert in alerts(shop.spec, QUERIES, OPTIONS)
        for condition in alert.conditions
        if _is_measured(condition.query)
    }
    # How large it is comes after enough rows, and no model here has a detector of outliers.
    early = {query for query in measured if "_e_value{" in query or "_alarm{" in query}
    assert len(early) >= 4
    wait_until(lambda: all(shop.watch.query(query) for query in early))


def test_every_query_of_the_dashboard_has_an_answer(shop: Shop) -> None:
    shop.trade()
    panels = [p for p in dashboard(shop.spec, QUERIES)["panels"] if p["type"] != "row"]
    assert len(panels) >= 15
    for panel in panels:
        for target in panel["targets"]:
            query = target["expr"].replace(RATE, "30s").replace(WINDOW, "1m")
            if _is_measured(query):
                continue
            found = _answer(shop, query)
            # What a legend names is a label of the answer.
            named = {word.partition("}}")[0] for word in target["legendFormat"].split("{{")[1:]}
            assert named <= set(found[0].labels), (panel["title"], found[0].labels)


def test_every_query_of_the_rules_has_an_answer(shop: Shop) -> None:
    shop.trade()
    asked = 0
    for alert in alerts(shop.spec, QUERIES, OPTIONS):
        for condition in alert.conditions:
            query = condition.query.removeprefix("absent")
            if _is_measured(query):
                continue
            assert condition.comparison or query != condition.query
            assert _answer(shop, query), alert.name
            asked += 1
        assert "{{ $labels." not in alert.summary or "by (" in alert.expression
    assert asked >= 12


def test_prometheus_evaluates_the_rules(shop: Shop) -> None:
    wait_until(lambda: all(rule["health"] == "ok" for rule in shop.watch.rules()))
    rules = {rule["name"]: rule for rule in shop.watch.rules()}
    assert set(rules) == {alert.name for alert in alerts(shop.spec, QUERIES, OPTIONS)}
    assert {rule["lastError"] for rule in rules.values() if "lastError" in rule} <= {""}


def test_answers_are_those_of_both_replicas(shop: Shop) -> None:
    """What Prometheus sums is what the two servers said when it asked them."""

    def agree() -> bool:
        drawn = QUERIES.now(m.DRAWN, ARM)
        found = {s.labels["arm"]: s.value for s in shop.watch.query(drawn)}
        wanted = {"near": 0.0, "far": 0.0}
        for replica in shop.replicas:
            for (name, labels), value in replica.metrics().items():
                if name == m.DRAWN.series:
                    wanted[dict(labels)["arm"]] += value
        return found == wanted and min(found.values()) > 0

    wait_until(agree)
    (servers,) = shop.watch.query(f"count ({QUERIES.of(m.REVISION)})")
    assert servers.value == 2
    shares = _answer(shop, QUERIES.share(m.EXPECTED, "1m"))
    assert [series.value for series in shares] == pytest.approx([0.5, 0.5])
    drawn = _answer(shop, QUERIES.share(m.DRAWN, "1m"))
    assert sum(series.value for series in drawn) == pytest.approx(1)
    # Another namespace has nothing to say.
    assert shop.watch.query(replace(QUERIES, namespace="other").now(m.DRAWN, ARM)) == []


def test_rewards_of_either_sign_have_a_mean(shop: Shop) -> None:
    # Some were given, some are minus the square of an error.
    mean = {s.labels["arm"]: s.value for s in _answer(shop, QUERIES.mean_reward("1m"))}
    assert mean["near"] < REWARD
    squared = {
        s.labels["arm"]: s.value
        for s in _answer(shop, QUERIES.per(m.SQUARED_ERROR, m.TRUTHS, "1m"))
    }
    error = shop.replicas[0].predict(records(ROWS[:1]), x_mlops_arm="near").json["predictions"][0]
    assert squared["near"] == pytest.approx((error - 6.5) ** 2, rel=1e-6)


def test_an_arm_that_is_down_is_seen(shop: Shop) -> None:
    def seen() -> bool:
        shop.trade()
        states = {rule["name"]: rule["state"] for rule in shop.watch.rules()}
        return "inactive" not in (states["MlopsEndpointDown"], states["MlopsErrors"])

    wait_until(seen)
    errors = {s.labels["arm"]: s.value for s in _answer(shop, QUERIES.errors("1m"))}
    assert errors == {"near": 0.0, "far": 1.0}
    states = {rule["name"]: rule["state"] for rule in shop.watch.rules()}
    assert states["MlopsServerAbsent"] == states["MlopsSlow"] == "inactive"
