"""`mlops deploy --workers`, from the start to the next start."""

from __future__ import annotations

from tests.fixtures_deployment import Shop


def test_the_number_of_workers_is_settled_by_the_start_and_kept(wine_shop: Shop) -> None:
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--workers", "2")
    for _ in range(4):
        wine_shop.ask()
    (found,) = wine_shop.ok("status", "--json").document["deployments"]
    assert [each["number"] for each in found["workers"]] == [1, 2]
    assert {each["state"] for each in found["workers"]} == {"running"}
    assert sum(each["requests"] for each in found["workers"]) == 4
    assert sum(arm["requests"] for arm in found["arms"]) == 4
    assert found["pid"] not in [each["pid"] for each in found["workers"]]
    assert "worker 2  running, pid " in wine_shop.ok("status").out

    refused = wine_shop.run("deploy", "--workers", "3", "--json")
    assert refused.code == 7
    assert "mlops stop wine" in refused.error["hint"]
    # It is no part of a revision, and no reason for one.
    again = wine_shop.ok("deploy", "--json").document
    assert (again["change"], again["revision"]) == ("nothing", 1)
    wine_shop.ok("deploy", "--split", "70/30")
    assert wine_shop.state.launch.workers == 2

    wine_shop.ok("stop")
    wine_shop.ok("start")
    (found,) = wine_shop.ok("status", "--json").document["deployments"]
    assert (found["revision"], len(found["workers"])) == (2, 2)
