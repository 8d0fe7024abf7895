"""Feedback that is sent to turn a verdict: sent again, too often, without an id."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.fixtures_deployment import Shop
from tests.waiting import wait_until

_RULES = """
[feedback]
reward = "given"
repeated = "sum"
max_per_unit = 3
max_per_key = "5"
outcome_ids = true
"""


def send(
    shop: Shop, request_id: str, headers: dict[str, str] | None = None, **outcome: object
) -> dict[str, Any]:
    document, _ = shop.post("/feedback", {"request_id": request_id, **outcome}, **headers or {})
    counts: dict[str, Any] = document["counts"]
    return counts


def test_replayed_and_repeated_feedback(wine_shop: Shop) -> None:
    (wine_shop.folder / "mlops.toml").write_text(_RULES)
    said = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--sticky-by", "header:x-user")
    assert "-H 'x-user: VALUE' -d" in said.out
    rules = wine_shop.state.launch.served.revision.spec.attribution
    assert (rules.max_per_unit, rules.outcome_ids, rules.repeated) == (3, True, "sum")
    ann, bob = (wine_shop.ask(x_user=name)[0] for name in ("ann", "bob"))

    with pytest.raises(HTTPError) as refused:
        send(wine_shop, ann, reward=1.0)
    assert refused.value.code == 422
    assert "outcome_id" in json.loads(refused.value.read())["problems"][0]["error"]

    first: dict[str, Any] = {"reward": 1.0, "outcome_id": "o-1"}
    second: dict[str, Any] = {"reward": 2.0, "outcome_id": "o-2"}
    assert send(wine_shop, ann, **first) == {"accepted": 1}
    assert send(wine_shop, ann, **second) == {"accepted": 1}
    # A message that somebody recorded, also after another one has come.
    assert send(wine_shop, ann, **first) == {"duplicate": 1}
    # Another value under an id that was used is no repetition.
    with pytest.raises(HTTPError) as refused:
        send(wine_shop, ann, reward=7.0, outcome_id="o-1")
    assert refused.value.code == 409
    why = "this `outcome_id` was stored with another value, which counts; send the difference"
    assert json.loads(refused.value.read())["problems"][0]["error"].startswith(why)
    file = wine_shop.folder / "orders.csv"
    file.write_text(f"request_id,outcome_id,reward\n{ann},o-1,1\n{ann},o-2,2.5\n")
    said = wine_shop.run("feedback", "--data", "orders.csv", "--json")
    assert (said.code, said.document["counts"]) == (3, {"conflict": 1, "duplicate": 1})
    assert [each["line"] for each in said.document["problems"]] == [3]
    # Each of her requests may have outcomes, and she counts with three.
    for number in range(10):
        again = wine_shop.ask(x_user="ann")[0]
        assert send(wine_shop, again, reward=100.0, outcome_id=f"more-{number}") == {"accepted": 1}
    assert send(wine_shop, bob, reward=1.0, outcome_id="o-1") == {"accepted": 1}
    report = wine_shop.ok("report", "--json").document
    (note,) = (note for note in report["notes"] if "max_per_unit" in note)
    assert note.startswith("9 outcomes of unit `")
    assert "were left out: `[feedback] max_per_unit = 3`." in note
    units = {arm["name"]: (arm["n"], arm["mean"]) for arm in report["arms"]}
    known = [(n, mean) for n, mean in units.values() if n]
    total = sum(n * mean for n, mean in known)
    assert total == pytest.approx(1 + 2 + 100 + 1)

    # One sender, of any number of units.
    made = wine_shop.ok("keys", "create", "app", "--scope", "predict,feedback", "--json").document
    key = {"authorization": f"Bearer {made['key']}"}
    wait_until(lambda: _is_refused(wine_shop))
    for number in range(8):
        other = wine_shop.ask(x_user=f"user-{number}", **key)[0]
        assert send(wine_shop, other, key, reward=-100.0, outcome_id="o-1") == {"accepted": 1}
    report = wine_shop.ok("report", "--json").document
    (note,) = (note for note in report["notes"] if "max_per_key" in note)
    assert re.match(r"3 outcomes of key `\w+` were left out: .*max_per_key = \"5\"`", note)
    assert sum(arm["n"] for arm in report["arms"]) - sum(n for n, _ in known) == 5


def _is_refused(shop: Shop) -> bool:
    try:
        shop.ask(x_user="nobody")
    except HTTPError as error:
        return error.code == 401
    return False
