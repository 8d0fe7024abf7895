"""A reward of another package that raises: its outcomes have no reward, and all else goes on."""

from __future__ import annotations

from collections.abc import Callable

from tests.fixtures_deployment import Shop


def test_outcomes_on_which_a_reward_raises_have_none(
    installed: Callable[..., None], wine_shop: Shop
) -> None:
    installed("acme")
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--reward", "acme-frail")
    asked = [wine_shop.ask()[0] for _ in range(4)]
    outcomes = [{"request_id": each, "truth": 200 + i} for i, each in enumerate(asked)]
    answer, _ = wine_shop.post("/feedback", {"outcomes": outcomes})
    assert answer["counts"] == {"accepted": 4}
    assert answer["warnings"] == [
        "no reward can be derived: the reward `acme-frail` raised KeyError"
    ]

    report = wine_shop.ok("report", "--json").document
    assert sum(arm["outcomes"] for arm in report["arms"]) == 2
    [note] = [each for each in report["notes"] if "acme-frail" in each]
    assert "2 outcomes: no reward can be derived: the reward `acme-frail` raised KeyError" in note
    wine_shop.ok("journal", "export", "--out", "events.csv")
    nonce = note.partition("nonce `")[2].partition("`")[0]
    assert nonce in (wine_shop.folder / "events.csv").read_text()
    assert "'boom'" in note
    promoted = wine_shop.ok("promote", "--arm", "modelB", "--force", "a test", "--json").document
    assert promoted["revision"] == 2
