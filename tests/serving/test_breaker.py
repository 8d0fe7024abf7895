from __future__ import annotations

from mlops.serving.models.breaker import Breaker


def test_after_three_failures_one_question_a_second() -> None:
    now = [100.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(3):
        assert breaker.allows()
        breaker.fail("refused")
    assert breaker.reason == "refused"
    assert not breaker.allows()
    now[0] += 1.0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.fail("refused")
    now[0] += 1.0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.close()
    assert all(breaker.allows() for _ in range(10))


def test_failures_have_to_follow_each_other() -> None:
    breaker = Breaker(lambda: 0.0)
    for _ in range(10):
        breaker.fail("refused")
        breaker.fail("refused")
        assert breaker.allows()
        breaker.close()
