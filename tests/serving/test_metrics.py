"""`/metrics` through HTTP: what was sent is what is counted, and nothing ever falls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlops.serving.metrics import Metrics
from mlops.spec.metrics import FAMILIES
from mlops.spec.server import Launch
from tests.serving.models import ROWS, records
from tests.serving.server import Server, make_launch, reweighted, served

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _of(samples: Samples, name: str, arm: str, **more: str) -> float:
    labels = {"arm": arm, "version": f"{arm}/1", **more}
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def test_what_was_sent_is_counted(server: Server) -> None:
    before = server.metrics()
    sent = Counter[str]()
    for number in range(30):
        sent[server.predict(records(ROWS[: 1 + number % 3])).arm] += 1
    refused = [server.predict([{"alcohol": 1}]).arm for _ in range(4)]
    for _ in range(3):
        server.call("POST", "/invocations", b"nonsense")
    after = server.metrics()

    def grown(name: str, arm: str, **more: str) -> float:
        return _of(after, name, arm, **more) - _of(before, name, arm, **more)

    for arm in "ab":
        assert grown("mlops_requests_total", arm, code="200") == sent[arm]
        assert grown("mlops_requests_total", arm, code="400") == refused.count(arm)
        assert grown("mlops_request_duration_seconds_count", arm) == sent[arm] + refused.count(arm)
    rows = [grown("mlops_rows_total", arm) for arm in "ab"]
    assert sum(rows) == 60 + 4
    key = ("mlops_refused_requests_total", (("protocol", "mlflow"),))
    assert after[key] - before.get(key, 0) == 3


def test_rewards_of_either_sign_only_grow(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server]
) -> None:
    # A server of its own: beside the 1e200 that another test may send, 2.25 is nothing.
    server = start(make_launch(tmp_path, served(models)))
    before = server.metrics()
    for reward in (1.5, -2.0, 0.0, -0.25):
        reply = server.predict(records(ROWS[:1]), idempotency_key=f"reward {reward}")
        server.post("/feedback", {"request_id": reply.request_id, "reward": reward})
    after = server.metrics()

    def grown(name: str) -> float:
        return sum(_of(after, name, arm) - _of(before, name, arm) for arm in "ab")

    assert grown("mlops_rewards_total") == 4
    assert grown("mlops_reward_positive_total") == pytest.approx(1.5)
    assert grown("mlops_reward_negative_total") == pytest.approx(2.25)


def test_quality_comes_from_truth(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server]
) -> None:
    server = start(make_launch(tmp_path, served(models)))
    before = server.metrics()
    errors = {"a": [0.5, -1.0, 2.0], "b": [3.0]}
    wanted = {arm: list(values) for arm, values in errors.items()}
    while any(wanted.values()):
        reply = server.predict(records(ROWS[:1]))
        if wanted[reply.arm]:
            truth = reply.json["predictions"][0] + wanted[reply.arm].pop()
            server.post("/feedback", {"request_id": reply.request_id, "truth": truth})
    after = server.metrics()
    for arm, values in errors.items():
        for name, total in {
            "mlops_truths_total": len(values),
            "mlops_squared_error_total": sum(e * e for e in values),
            "mlops_absolute_error_total": sum(map(abs, values)),
            "mlops_reward_negative_total": sum(e * e for e in values),
        }.items():
            assert _of(after, name, arm) - _of(before, name, arm) == pytest.approx(total)
        truths = _of(after, "mlops_truths_total", arm)
        mean_square = _of(after, "mlops_squared_error_total", arm) / truths
        assert _of(after, "mlops_rmse", arm) == pytest.approx(math.sqrt(mean_square))


def test_counters_are_counters(server: Server) -> None:
    text = server.get("/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["mlops_requests"].type == "counter"
    assert families["mlops_rmse"].type == "gauge"
    for family in families.values():
        assert family.documentation
        if family.type in ("counter", "histogram"):
            assert all(sample.value >= 0 for sample in family.samples)
    buckets = [
        s.value for s in families["mlops_request_duration_seconds"].samples if "le" in s.labels
    ]
    assert buckets
    (revision,) = families["mlops_revision"].samples
    assert (revision.labels, revision.value) == ({"deployment": "wine"}, 1)


def test_every_family_is_in_the_table(server: Server) -> None:
    """What the table says of a family is what is exposed; nothing is exposed beside it."""
    server.call("POST", "/invocations", b"nonsense")
    text = server.get("/metrics").body.decode()
    exposed = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(exposed) == {family.name for family in FAMILIES}
    for family in FAMILIES:
        found = exposed[family.name]
        assert (found.type, found.documentation) == (family.kind, family.help)
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)
            assert sample.name.startswith(family.series)


def test_arms_are_there_before_their_first_request(
    models: dict[str, Path], start: Callable[[Launch], Server], tmp_path: Path
) -> None:
    weights = {"a": 0.75, "b": 0.25}
    found = start(make_launch(tmp_path, served(models, weights=weights))).metrics()
    for arm, weight in weights.items():
        assert _of(found, "mlops_arm_weight", arm) == weight
        for name in ("drawn_requests", "expected_requests", "rewards", "forced_requests"):
            assert (f"mlops_{name}_total", (("arm", arm), ("version", f"{arm}/1"))) in found
    assert found[("mlops_feedback_total", (("outcome", "accepted"),))] == 0


def test_a_request_makes_no_counters_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics("wine", dict)
    there = [metrics.arm("a", "a/1"), metrics.shadow("a", "a/1")]
    monkeypatch.delattr("mlops.serving.metrics.ArmCounters")
    assert [metrics.arm("a", "a/1"), metrics.shadow("a", "a/1")] == there


def test_shares_are_expected_under_the_weights_of_each_draw(
    models: dict[str, Path], start: Callable[[Launch], Server], tmp_path: Path
) -> None:
    first = served(models, weights={"a": 0.75, "b": 0.25})
    server = start(make_launch(tmp_path, first))
    for _ in range(40):
        server.predict(records(ROWS[:1]))
    assert server.swap(reweighted(first, 0.0, 1.0)).status == 200
    for _ in range(10):
        server.predict(records(ROWS[:1]))
        server.predict(records(ROWS[:1]), x_mlops_arm="a")
    found = server.metrics()
    assert [_of(found, "mlops_arm_weight", arm) for arm in "ab"] == [0.0, 1.0]
    assert _of(found, "mlops_expected_requests_total", "a") == pytest.approx(30)
    assert _of(found, "mlops_expected_requests_total", "b") == pytest.approx(20)
    assert sum(_of(found, "mlops_drawn_requests_total", arm) for arm in "ab") == 50
    assert _of(found, "mlops_forced_requests_total", "a") == 10


def test_buckets_accumulate(server: Server) -> None:
    server.predict(records(ROWS), x_mlops_arm="a")
    text = server.get("/metrics").body.decode()
    (family,) = [
        f
        for f in text_string_to_metric_families(text)
        if f.name == "mlops_request_duration_seconds"
    ]
    counts = [s.value for s in family.samples if s.labels.get("arm") == "a" and "le" in s.labels]
    assert counts == sorted(counts)
    assert counts[-1] == _of(server.metrics(), "mlops_request_duration_seconds_count", "a")
