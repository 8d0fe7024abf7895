"""Which arm answers: shares, retries, and arms that a tester forces."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from mlops.spec.request_id import read
from tests.serving.models import ROWS, records
from tests.serving.server import KEY, Server

ONE = records(ROWS[:1])


def test_the_split_is_kept(server: Server) -> None:
    # Keys and the deployment's key are fixed, so the draws are too.
    n = 1000
    drawn = Counter(server.predict(ONE, idempotency_key=f"split-{i}").arm for i in range(n))
    assert set(drawn) == {"a", "b"}
    assert abs(drawn["a"] - n / 2) < 4 * math.sqrt(n / 4)


def test_a_retry_is_the_same_decision(server: Server) -> None:
    for number in range(20):
        key = f"retry-{number}"
        first, again = (server.predict(ONE, idempotency_key=key) for _ in range(2))
        assert first.arm == again.arm
        assert first.body == again.body
        assert read(KEY, first.request_id).nonce == read(KEY, again.request_id).nonce


def test_a_retry_is_counted_once(server: Server) -> None:
    def decisions() -> int:
        journal = server.journal()
        try:
            return sum(traffic.drawn for traffic in journal.traffic())
        finally:
            journal.close()

    before = decisions()
    for _ in range(5):
        server.predict(ONE, idempotency_key="counted once")
    assert decisions() == before + 1


def test_requests_without_a_key_are_different_decisions(server: Server) -> None:
    nonces = {read(KEY, server.predict(ONE).request_id).nonce for _ in range(50)}
    assert len(nonces) == 50


@pytest.mark.parametrize("arm", ["a", "b"])
def test_a_tester_chooses_the_arm(server: Server, arm: str) -> None:
    for _ in range(10):
        reply = server.predict(ONE, x_mlops_arm=arm)
        assert reply.arm == arm
        rid = read(KEY, reply.request_id)
        assert rid.forced
        assert rid.propensity == 0


def test_an_unknown_arm_is_refused(server: Server) -> None:
    reply = server.predict(ONE, x_mlops_arm="c")
    assert reply.status == 400
    assert "`c`" in reply.json["message"]
    assert "a, b" in reply.json["message"]


def test_forced_requests_stay_out_of_the_statistics(server: Server) -> None:
    journal = server.journal()
    before = {traffic.arm: traffic for traffic in journal.traffic()}
    rewards = _rewards(server)
    replies = [server.predict(ONE, x_mlops_arm="a") for _ in range(7)]
    for reply in replies:
        answer = server.post("/feedback", {"request_id": reply.request_id, "reward": 1.0})
        assert answer.json["counts"] == {"accepted": 1}
    journal.close()
    journal = server.journal()
    after = {traffic.arm: traffic for traffic in journal.traffic()}
    seen = {o.nonce: o.propensity for o in journal.observations()}
    journal.close()
    assert after[0].drawn == before[0].drawn
    assert after[0].units == before[0].units
    assert after[0].forced == before[0].forced + 7
    # The feedback is kept, and marked so that no fold uses it.
    assert {seen[read(KEY, reply.request_id).nonce] for reply in replies} == {0.0}
    assert _rewards(server) == rewards


def _rewards(server: Server) -> dict[str, float]:
    return {
        dict(labels)["arm"]: value
        for (name, labels), value in server.metrics().items()
        if name == "mlops_rewards_total"
    }
