"""What `--with monitoring` renders: objects that find the pods, a dashboard that Grafana knows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from mlops.deployment.manifest_files import put_files
from mlops.deployment.prometheus.alerts import alerts
from mlops.deployment.prometheus.dashboard import dashboard
from mlops.deployment.prometheus.files import DASHBOARD, PROMETHEUS, RULES, on_machine
from mlops.deployment.prometheus.queries import Queries
from mlops.deployment.targets import TARGETS
from mlops.deployment.targets.base import Rendered
from mlops.deployment.targets.kubernetes import Kubernetes
from mlops.errors import ConflictError, InvalidInputError
from mlops.linting import lint
from mlops.settings.platforms import MonitoringSettings
from mlops.spec import metrics as m
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.metrics import FAMILIES
from tests.deployment.matrix import options
from tests.deployment.specs import spec

Json: TypeAlias = Any
SPEC = spec(0.5, 0.5, shadows=(0.2,))


def rendered(deployment: DeploymentSpec = SPEC, **given: Any) -> Rendered:
    given = {"cluster_extras": ("monitoring",), **given}
    return Kubernetes().render(deployment, options("kubernetes", **given))


def loaded(made: Rendered, file: str) -> Json:
    return yaml.safe_load(made.files[file])


# Objects


def test_without_being_asked_there_is_no_monitoring() -> None:
    made = Kubernetes().render(SPEC, options("kubernetes"))
    assert not {"podmonitor.yaml", "prometheusrule.yaml", "dashboard.yaml"} & set(made.files)
    assert not {RULES, DASHBOARD} & set(made.beside)
    assert "monitoring" not in made.files["networkpolicy.yaml"]


def test_a_pod_monitor_finds_the_pods_and_their_port() -> None:
    made = rendered(monitoring_interval="10s", monitoring_secured=False)
    monitor = loaded(made, "podmonitor.yaml")
    pods = loaded(made, "deployment.yaml")["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "10s"}
    assert endpoint["port"] in [p["name"] for p in pods["spec"]["containers"][0]["ports"]]


def test_a_service_monitor_finds_the_service_and_its_port() -> None:
    made = rendered(monitoring_monitor="service")
    assert "podmonitor.yaml" not in made.files
    monitor, service = loaded(made, "servicemonitor.yaml"), loaded(made, "service.yaml")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]


def test_labels_by_which_operator_and_sidecar_choose() -> None:
    made = rendered(monitoring_release="prom")
    for file in ("podmonitor.yaml", "prometheusrule.yaml"):
        assert loaded(made, file)["metadata"]["labels"]["release"] == "prom"
    assert loaded(made, "dashboard.yaml")["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert "release" in " ".join(rendered().notes)
    assert "label `release`" not in " ".join(made.notes)


def test_prometheus_is_let_in_and_sends_the_token() -> None:
    made = rendered(monitoring_namespace="watching", monitoring_secured=True, key_secret="keys")
    (rule,) = loaded(made, "networkpolicy.yaml")["spec"]["ingress"]
    assert {"kubernetes.io/metadata.name": "watching"} in [
        each.get("namespaceSelector", {}).get("matchLabels") for each in rule["from"]
    ]
    (endpoint,) = loaded(made, "podmonitor.yaml")["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "keys", "key": "token"}
    # In the same namespace pods are let in anyway.
    (rule,) = loaded(rendered(monitoring_namespace=""), "networkpolicy.yaml")["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {}}]


def test_servers_of_the_same_name_elsewhere_are_not_counted_in() -> None:
    made = rendered(cluster_namespace="shop")
    selectors = re.findall(r"mlops_\w+{([^}]*)}", made.files["prometheusrule.yaml"])
    assert selectors
    assert all('deployment="wine",namespace="shop"' in each for each in selectors)
    # Without Kubernetes nothing has such a label.
    assert "namespace=" not in made.beside[RULES] + made.beside[DASHBOARD]
    assert "of all namespaces together" in " ".join(rendered().notes)
    assert "of all namespaces together" not in " ".join(made.notes)


def test_the_plain_rules_are_those_of_the_operator() -> None:
    made = rendered()
    plain = yaml.safe_load(made.beside[RULES])["groups"]
    assert plain == loaded(made, "prometheusrule.yaml")["spec"]["groups"]
    assert {"alert", "expr", "for", "labels", "annotations"} == set(plain[0]["rules"][0])


def test_what_lies_beside_lints_too() -> None:
    made = rendered()
    texts = {**made.files, **made.beside}
    assert lint({name: texts[name] for name in (*made.files, RULES, DASHBOARD)}) == []


def test_a_dashboard_of_ours_is_replaced_and_a_person_s_is_not(tmp_path: Path) -> None:
    for deployment, change in ((spec(1.0), "create"), (SPEC, "update"), (SPEC, "same")):
        (file,) = put_files({DASHBOARD: rendered(deployment).beside[DASHBOARD]}, tmp_path)
        assert file.change == change
    (tmp_path / DASHBOARD).write_text('{"title": "mine"}')
    with pytest.raises(ConflictError):
        put_files({DASHBOARD: rendered().beside[DASHBOARD]}, tmp_path)


def test_sticky_arms_are_told_why_there_is_no_alert() -> None:
    made = rendered(replace(SPEC, sticky_by="header:X-Customer"))
    assert "MlopsSampleRatio" not in made.files["prometheusrule.yaml"]
    assert "`mlops report` counts units" in " ".join(made.notes)


def test_files_for_a_machine() -> None:
    made = on_machine(SPEC, MonitoringSettings(), "127.0.0.1:8080", "/srv/wine.token")
    (job,) = yaml.safe_load(made[PROMETHEUS])["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8080"]}]
    assert job["authorization"] == {"credentials_file": "/srv/wine.token"}
    assert yaml.safe_load(made[PROMETHEUS])["rule_files"] == [RULES]
    assert "authorization" not in on_machine(SPEC, MonitoringSettings(), "x:1", "")[PROMETHEUS]


# Names


def _names(text: str) -> set[str]:
    return set(re.findall(r"\bmlops_\w+", text))


def test_queries_name_series_of_the_table_only() -> None:
    known = set()
    for family in FAMILIES:
        suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        known |= {family.series + suffix for suffix in suffixes}
    made = rendered()
    found = _names(made.files["dashboard.yaml"]) | _names(made.files["prometheusrule.yaml"])
    assert found <= known
    assert len(found) > 15


@pytest.mark.parametrize(
    ("family", "suffix", "matchers"),
    [(m.ROWS, "", {"code": "5.."}), (m.ROWS, "_bucket", {}), (m.DURATION, "", {})],
)
def test_a_query_about_what_a_family_lacks_is_a_mistake(
    family: m.Family, suffix: str, matchers: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=family.name):
        Queries("wine").of(family, suffix, **matchers)
    with pytest.raises(ValueError, match=family.name):
        Queries("wine").total(family, ("protocol",), "5m")


# Dashboard


def _same(ours: Json, theirs: Json, path: str = "") -> list[str]:
    """Name what Grafana's types do not know of ours."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        lost = [f"{path}.{key}" for key in ours if key not in theirs]
        return lost + [
            each
            for key in ours
            if key in theirs
            for each in _same(ours[key], theirs[key], f"{path}.{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            each
            for index, pair in enumerate(zip(ours, theirs, strict=True))
            for each in _same(*pair, f"{path}[{index}]")
        ]
    return [] if ours == theirs else [f"{path}: {ours!r}"]


def read_by_grafana(document: Json) -> Json:
    """Read a dashboard into the types that Grafana publishes, and write it again.

    Not by Grafana itself: it cannot be had from a package registry.
    """
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(document)))


@pytest.mark.parametrize("deployment", [spec(1.0), spec(0.5, 0.5), SPEC])
def test_grafana_s_types_know_every_field(deployment: DeploymentSpec) -> None:
    document = json.loads(rendered(deployment).beside[DASHBOARD])
    assert _same(document, read_by_grafana(document)) == []
    document["panels"][1]["targets"][0]["expression"] = "up"
    assert _same(document, read_by_grafana(document)) == [".panels[1].targets[0].expression"]


def test_the_dashboard_hangs_together() -> None:
    document = dashboard(SPEC, Queries("wine", "shop"))
    panels = document["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    variables = {each["name"] for each in document["templating"]["list"]}
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables
    titles = {panel["title"] for panel in panels}
    assert {"Requests", "Errors", "Latency", "Mean reward", "Mean squared error"} <= titles
    assert {"Feedback rate", "Share of the traffic", "Copies answered"} <= titles


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard(SPEC, Queries("wine"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells


def test_dashboards_of_two_deployments_do_not_replace_each_other() -> None:
    found = {
        dashboard(SPEC, Queries(name, namespace))["uid"]
        for name in ("wine", "x" * 63)
        for namespace in ("", "shop")
    }
    assert len(found) == 4
    assert max(map(len, found)) <= 40


# Refusals


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"monitor": "node"}, "`monitoring.monitor` is `node`"),
        ({"interval": "30"}, "`monitoring.interval` is `30`"),
        ({"interval": "121s"}, "`monitoring.interval` is `121s`, too rare"),
        ({"interval": "1h"}, "`monitoring.interval` is `1h`, too rare"),
        ({"feedback_within": "1 day"}, "`monitoring.feedback_within` is `1 day`"),
        ({"max_latency_ms": 10_000}, "`monitoring.max_latency_ms` is 10000"),
        ({"release": "a b"}, "`monitoring.release` is not a name"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        rendered(**{f"monitoring_{key}": value for key, value in given.items()})
    assert fault in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("target", "instead"),
    [
        ("kserve", "serving.kserve.io/inferenceservice"),
        ("seldon", "seldon_api_executor_client_requests_seconds"),
        ("seldon2", "seldon_model_infer_total"),
    ],
)
def test_platforms_that_split_themselves_refuse(target: str, instead: str) -> None:
    given = options(target, cluster_extras=("monitoring",))
    with pytest.raises(InvalidInputError, match="splits the traffic itself") as caught:
        TARGETS.load(target)().check(spec(0.5, 0.5), given)
    assert instead in (caught.value.hint or "")
    assert "`--target kubernetes`" in (caught.value.hint or "")


# Documentation

_DOCUMENT = Path(__file__).parents[2] / "docs" / "monitoring.md"


def test_every_alert_is_documented_with_its_duration_and_severity() -> None:
    far = replace(SPEC.arms[0].model, source="v2+http://10.0.0.7/v2/models/wine")
    every = replace(SPEC, arms=(replace(SPEC.arms[0], model=far), SPEC.arms[1]))
    found = alerts(every, Queries("wine"), MonitoringSettings())
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in _DOCUMENT.read_text().splitlines()
        if line.startswith("| `Mlops")
    ]
    documented = {(name, lasting, severity) for name, _, lasting, severity in rows}
    assert documented == {(each.name, each.lasting, each.severity) for each in found}
