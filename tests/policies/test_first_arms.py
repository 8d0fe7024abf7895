"""The arms that sticky units had first, while replicas are rolled out one after the other."""

from __future__ import annotations

from mlops.policies.drawing import Choice
from mlops.policies.first_arms import Rollout

OLD, LIVE = 1, 2


def asked(unit: int, revision: int, arm: int) -> tuple[bytes, int, int, float]:
    return key(unit), revision, arm, 0.1 if revision == OLD else 0.5


def key(unit: int) -> bytes:
    return unit.to_bytes(8, "big")


def test_units_that_old_replicas_meet_later_keep_their_arm_too() -> None:
    rollout = Rollout(LIVE)
    assert rollout.learn([asked(7, OLD, 1), asked(8, OLD, 0), asked(7, OLD, 0)])
    # A replica of this revision meets 5, and one of before meets 9, which comes back here.
    more = [asked(5, LIVE, 1), asked(9, OLD, 1), asked(9, LIVE, 1), asked(5, OLD, 0)]
    assert rollout.learn([*more, (None, OLD, 1, 0.1)])
    found = {unit: rollout.known.of(key(unit)) for unit in (5, 7, 8, 9, 10)}
    old = {7: Choice(1, 0.1), 8: Choice(0, 0.1), 9: Choice(1, 0.1)}
    assert found == {5: None, 10: None, **old}
    # What is read again changes nothing, and later draws of a known unit neither.
    known = rollout.known
    assert rollout.learn([*more, asked(8, OLD, 1)])
    assert rollout.known is known
    assert not rollout.learn([asked(11, LIVE, 0)])
    assert rollout.known.of(key(11)) is None
