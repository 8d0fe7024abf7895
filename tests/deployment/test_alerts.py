"""Prometheus' own tool evaluates the rules: each alert fires when it should, and not when all is
well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest
import yaml

from mlops.deployment.prometheus import split
from mlops.deployment.prometheus.files import RULES, on_machine
from mlops.deployment.prometheus.queries import Queries
from mlops.settings.platforms import MonitoringSettings
from mlops.spec import metrics as m
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.metrics import LATENCY_BOUNDS_S, Family
from mlops.stats.sample_ratio import log_evidence
from tests.deployment.specs import model, spec
from tests.prometheus import Promtool

#: Name of a series to its values, in promtool's notation: start, growth per minute, count.
Values: TypeAlias = Mapping[str, str]
_HOURS = 60
LASTING_MINUTES = 8 * _HOURS
#: Shorter than by default, or series would have to last for days.
WITHIN = "2h"


def deployment() -> DeploymentSpec:
    """Two arms, one of them an endpoint, and a shadow."""
    made = spec(0.5, 0.5, shadows=(0.2,))
    far = replace(model(9, "v2+http://10.0.0.7:8080/v2/models/wine"), name="", version=0)
    return replace(made, arms=(made.arms[0], replace(made.arms[1], model=far)))


def rules_of(deployed: DeploymentSpec, **options: Any) -> str:
    settings = MonitoringSettings(**{"feedback_within": WITHIN, **options})
    return on_machine(deployed, settings, "127.0.0.1:1", "")[RULES]


def name(family: Family, suffix: str = "", **labels: str) -> str:
    """Write a series as Prometheus does, with all labels of its family."""
    given = {"deployment": "wine", **labels}
    missing = set(family.labels) - set(given)
    assert not missing, missing
    text = ",".join(f'{key}="{value}"' for key, value in given.items())
    return f"{family.series}{suffix}{{{text}}}"


def arm(which: str, pod: str = "p1") -> dict[str, str]:
    return {"arm": f"model{which}", "version": f"wine/{which}", "pod": pod}


def growing(per_minute: float, start: float = 0) -> str:
    return f"{start:g}+{per_minute:g}x{LASTING_MINUTES}"


def constant(value: float) -> str:
    return f"{value:g}x{LASTING_MINUTES}"


def healthy() -> dict[str, str]:
    """Two pods: 120 requests a minute, one in 1,000 fails, all are quick, feedback comes."""
    found: dict[str, str] = {}
    for pod in ("p1", "p2"):
        at = {"pod": pod}
        for which in "AB":
            here = arm(which, pod)
            found |= {
                name(m.REQUESTS, code="200", **here): growing(30),
                name(m.REQUESTS, code="500", **here): growing(0.03),
                name(m.DRAWN, **here): growing(30),
                name(m.EXPECTED, **here): growing(30),
                name(m.REWARDS, **here): growing(3),
                name(m.DRIFT_ALARM, feature="alcohol", **here): constant(0),
                name(m.QUALITY_ALARM, measure="rmse", **here): constant(0),
            }
            for bound in (*LATENCY_BOUNDS_S, float("inf")):
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                count = 30 if bound >= 0.5 else 20
                found[name(m.DURATION, "_bucket", le=le, **here)] = growing(count)
        shadow = {"shadow": "try1", "version": "wine/5", **at}
        found |= {
            name(m.SHADOW_REQUESTS, code="200", **shadow): growing(6),
            name(m.SHADOW_DROPPED, **shadow): growing(1),
            name(m.ENDPOINT_UP, arm="modelB", **at): constant(1),
            name(m.REVISION, **at): constant(4),
            name(m.JOURNAL_PENDING, **at): constant(12),
            name(m.JOURNAL_SHED, **at): constant(0),
        }
    return found


def spoilt(**changes: str) -> Values:
    found = healthy()
    assert set(changes) <= set(found)
    return found | changes


def case(series: Values, minute: int, *firing: str) -> Any:
    """At that minute these alerts fire, and no other."""
    rules = yaml.safe_load(rules_of(deployment()))["groups"][0]["rules"]
    return {
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"} > 0)',
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{each}"}}', "value": 1} for each in sorted(firing)
                ],
            }
        ],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": rule["alert"], "exp_alerts": []}
            for rule in rules
            if rule["alert"] not in firing
        ],
    }


def bad(alert: str) -> tuple[Values, int]:
    """Series with one thing wrong, and a minute by which that must be known."""
    a = arm("A")
    broken: dict[str, tuple[dict[str, str], int]] = {
        # One pod of two: a tenth of all requests of the arm fails.
        "MlopsErrors": ({name(m.REQUESTS, code="500", **a): growing(6)}, 20),
        # One in 60 requests of the arm is beyond a second.
        "MlopsSlow": (
            {
                name(m.DURATION, "_bucket", le=f"{bound:g}", **a): growing(29)
                for bound in (0.5, 1.0)
            },
            20,
        ),
        "MlopsNoFeedback": (
            {
                name(m.REWARDS, **arm(which, pod)): constant(5000)
                for which in "AB"
                for pod in ("p1", "p2")
            },
            4 * _HOURS + 30,
        ),
        # 55 % of one pod's requests, which is 52.5 % of all.
        "MlopsSampleRatio": (
            {name(m.DRAWN, **a): growing(33), name(m.DRAWN, **arm("B")): growing(27)},
            4 * _HOURS,
        ),
        "MlopsRevisionsDiffer": ({name(m.REVISION, pod="p2"): constant(3)}, 40),
        "MlopsJournalShedding": ({name(m.JOURNAL_SHED, pod="p2"): growing(1)}, 10),
        "MlopsJournalBehind": ({name(m.JOURNAL_PENDING, pod="p2"): constant(40_000)}, 10),
        "MlopsShadowDropping": (
            {
                name(m.SHADOW_DROPPED, shadow="try1", version="wine/5", pod=pod): growing(10)
                for pod in ("p1", "p2")
            },
            30,
        ),
        "MlopsEndpointDown": ({name(m.ENDPOINT_UP, arm="modelB", pod="p2"): constant(0)}, 10),
        # Every pod reads the same journal, one of them a little later.
        "MlopsDrift": ({name(m.DRIFT_ALARM, feature="alcohol", **a): constant(1)}, 10),
        "MlopsQuality": ({name(m.QUALITY_ALARM, measure="rmse", **a): constant(1)}, 10),
        "MlopsServerAbsent": ({}, 20),
    }
    changes, minute = broken[alert]
    return ({} if alert == "MlopsServerAbsent" else spoilt(**changes)), minute


ALERTS = [each["alert"] for each in yaml.safe_load(rules_of(deployment()))["groups"][0]["rules"]]


def test_rules_parse(promtool: Promtool) -> None:
    assert f"{len(ALERTS)} rules found" in promtool.check(rules_of(deployment()))


def test_all_alerts_are_silent_while_all_is_well(promtool: Promtool) -> None:
    promtool.test(
        rules_of(deployment()),
        *(case(healthy(), minute) for minute in (1, 60, 5 * _HOURS)),
    )


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_should_and_no_other(promtool: Promtool, alert: str) -> None:
    promtool.test(rules_of(deployment()), case(*bad(alert), alert))


def test_counters_that_begin_again_raise_no_alarm(promtool: Promtool) -> None:
    """Pods restart in turn, at other times, and one is replaced by one of another name."""
    series = healthy()
    half = 90
    for key, values in list(series.items()):
        if 'pod="p1"' in key and "+" in values:
            growth = values.split("+")[1].split("x")[0]
            series[key] = f"0+{growth}x{half} 0+{growth}x{LASTING_MINUTES}"
        elif 'pod="p2"' in key and "+" in values:
            growth = values.split("+")[1].split("x")[0]
            series[key] = f"0+{growth}x{half + 7} stale"
            renamed = key.replace('pod="p2"', 'pod="p3"')
            series[renamed] = f"_x{half + 9} 0+{growth}x{LASTING_MINUTES}"
    promtool.test(
        rules_of(deployment()), *(case(series, half + later) for later in (1, 3, 8, 10, 40))
    )


def test_feedback_that_is_not_due_yet_is_not_missed(promtool: Promtool) -> None:
    series = dict(bad("MlopsNoFeedback")[0])
    promtool.test(rules_of(deployment()), case(series, 2 * _HOURS - 10))
    # A server without any requests has none to miss.
    for key in series:
        if key.startswith(m.REQUESTS.series):
            series[key] = constant(0)
    promtool.test(rules_of(deployment()), case(series, LASTING_MINUTES - 5))


def test_arms_without_traffic_are_no_part_of_the_ratio(promtool: Promtool) -> None:
    """An arm of weight 0 expects nothing: no division by zero, and it is no degree of freedom."""
    series = healthy()
    for pod in ("p1", "p2"):
        here = {"arm": "modelC", "version": "wine/C", "pod": pod}
        series |= {name(m.DRAWN, **here): constant(0), name(m.EXPECTED, **here): constant(0)}
    bad_series, minute = bad("MlopsSampleRatio")
    added = {key: value for key, value in series.items() if "modelC" in key}
    promtool.test(
        rules_of(deployment()),
        case(series, minute),
        case({**bad_series, **added}, minute, "MlopsSampleRatio"),
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((5200, 4800), (5000, 5000)),
        ((920, 80), (900, 100)),
        ((510, 300, 190), (500, 300, 200)),
        ((5200, 4800, 0), (5000, 5000, 0)),
    ],
)
def test_the_evidence_is_the_formula_of_its_docstring(
    promtool: Promtool, counts: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """Counts are spread over two pods, which are summed before they are squared.

    An arm that expects nothing is no degree of freedom.
    """
    series = {}
    for which, drawn, due in zip("ABC", counts, expected, strict=False):
        for pod, share in (("p1", 0.25), ("p2", 0.75)):
            here = arm(which, pod)
            series[name(m.DRAWN, **here)] = constant(drawn * share)
            series[name(m.EXPECTED, **here)] = constant(due * share)
    expecting = np.array(expected) > 0
    x, e = np.array(counts)[expecting], np.array(expected)[expecting]
    promtool.test(
        "groups: []",
        {
            "input_series": [{"series": k, "values": v} for k, v in series.items()],
            "promql_expr_test": [
                {
                    "expr": f"round({split.evidence(Queries('wine'))}, 0.001)",
                    "eval_time": "5m",
                    "exp_samples": [
                        {"labels": "{}", "value": round(float(log_e(x, e / e.sum())), 3)}
                    ],
                }
            ],
        },
    )


def log_e(x: Any, weights: Any) -> Any:
    """What the module's docstring says, for counts of shape (..., k)."""
    n = x.sum(axis=-1)
    e = n[..., None] * weights
    statistic = ((x - e) ** 2 / e).sum(axis=-1)
    c, k = split.CONCENTRATION, len(weights)
    return statistic / 2 * n / (n + c) - (k - 1) / 2 * np.log(1 + n / c)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.1), (0.5, 0.3, 0.2)])
def test_looking_all_the_time_rejects_a_right_split_as_rarely_as_promised(
    weights: tuple[float, ...],
) -> None:
    """1,000 tests of 50,000 requests, looked at every 10: at most alpha, and 3 standard errors.

    A critical value of Pearson's test at the same alpha rejects many times as many.
    """
    generator = np.random.default_rng(12)
    runs, share = 1000, np.array(weights)
    alarms = fixed = 0
    for _ in range(runs):
        x = np.cumsum(generator.multinomial(10, share, size=5000), axis=0)
        due = x.sum(axis=-1) * share.min() >= split.FEWEST
        evidence = log_e(x, share)[due]
        alarms += bool((evidence > split.LIMIT).any())
        e = x.sum(axis=-1)[due, None] * share
        statistic = ((x[due] - e) ** 2 / e).sum(axis=-1)
        fixed += bool((statistic > {2: 6.635, 3: 9.210}[len(weights)]).any())
    allowed = split.ALPHA + 3 * (split.ALPHA * (1 - split.ALPHA) / runs) ** 0.5
    assert alarms / runs <= allowed
    assert fixed / runs > 5 * allowed


def test_large_counts_give_what_the_report_s_test_gives() -> None:
    """Both are mixtures over the same prior; the report's has a second one, for small counts."""
    weights = np.array([0.5, 0.3, 0.2])
    for drift in (0.0, 0.004, 0.01):
        x = np.round(200_000 * (weights + np.array([drift, -drift, 0]))).astype(int)
        exact = float(log_evidence(x, weights))
        ours = float(log_e(x, weights))
        # Half of the prior's weight is on the other concentration: at most log 2 less.
        assert exact - 0.1 <= ours <= exact + np.log(2) + 0.1


def test_sticky_arms_have_no_alert_about_requests() -> None:
    sticky = replace(spec(0.5, 0.5), sticky_by="header:X-Customer")
    assert "MlopsSampleRatio" not in rules_of(sticky)
    assert "MlopsSampleRatio" not in rules_of(spec(1.0))
    assert "MlopsEndpointDown" not in rules_of(spec(1.0))
    assert "MlopsShadowDropping" not in rules_of(spec(1.0))


def test_thresholds_are_those_of_the_settings(promtool: Promtool) -> None:
    loose = rules_of(deployment(), max_errors=0.2, max_latency_ms=3000, feedback_within="5h")
    promtool.test(
        loose,
        *(
            {
                "input_series": case(*bad(alert))["input_series"],
                "alert_rule_test": [
                    {"eval_time": f"{bad(alert)[1]}m", "alertname": alert, "exp_alerts": []}
                ],
            }
            for alert in ("MlopsErrors", "MlopsSlow", "MlopsNoFeedback")
        ),
    )
