from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.registry import open_registry
from tests.commands.test_deploy import fingerprint
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine


@pytest.fixture(scope="module")
def market(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A running test of two versions of one model; each test sets up what it needs."""
    opened = open_shop(trained_wine, tmp_path_factory.mktemp("market") / "wine")
    try:
        opened.ok("deploy", "--ab", "wine/1", "wine/2")
        yield opened
    finally:
        opened.close()


def champion(shop: Shop, model: str = "wine") -> int:
    return int(open_registry(shop.settings).get_registered_model(model).aliases.get("champion", 0))


def test_a_verdict_is_promoted_and_taken_back(market: Shop) -> None:
    market.ok("deploy", "--ab", "wine/1", "wine/2", "--reward", "given")
    # Clear as day: the arm wine-2 earns 1, the other 0, with a little noise.
    for number, (request_id, arm) in enumerate(market.ask_evenly(260)):
        reward = float(arm == "wine-2") + (number % 7) / 50
        market.post("/feedback", {"request_id": request_id, "reward": reward})
    report = market.run("report", "--exit-code", "--json")
    assert report.code == 0, (report.document["verdict"], report.document["gates"])
    verdict = report.document["verdict"]
    assert report.document["sample_ratio"]["p_value"] == 1
    assert (verdict["decision"], verdict["winner"]) == ("promote", "wine-2")
    assert 0 < verdict["lower"] < verdict["effect"] < verdict["upper"]
    assert "mlops promote wine" in market.ok("report").out
    kept = market.run("report", "--exit-code", "--baseline", "wine-2")
    assert (kept.code, "next: mlops promote wine --arm wine-2" in kept.out) == (10, True)
    # Another arm than the verdict's is refused.
    other = market.run("promote", "--arm", "wine-1", "--json")
    assert other.code == 7
    assert verdict["reason"] in other.error["message"]

    before, revision = fingerprint(market.folder), market.ledger.live_number()
    dry = market.ok("promote", "--dry-run", "--json").document
    assert fingerprint(market.folder) == before
    assert (dry["changed"], dry["url"]) == (False, "")
    assert dry["aliases"] == [{"model": "wine", "alias": "champion", "version": 2, "before": 0}]
    assert "would serve" in market.ok("promote", "--dry-run").out

    moved = market.ok("promote", "--json").document
    assert (moved["changed"], moved["revision"], moved["replaced"]) == (
        True,
        revision + 1,
        revision,
    )
    assert moved["aliases"] == dry["aliases"]
    assert champion(market) == 2
    assert {market.ask()[1] for _ in range(20)} == {"wine-2"}
    # Once more changes nothing.
    assert market.ok("promote", "--json").document["changed"] is False
    # What was decided, and why, can still be read.
    after = market.run("report", "--json", "--exit-code")
    assert after.code == 16
    finished = after.document["finished"]
    assert (finished["revision"], finished["arm"]) == (revision + 1, "wine-2")
    text = market.ok("report").out
    assert "mlops promote" not in text
    assert "the experiment is over" in text
    page = market.ok("report", "--html", "-").out
    assert "Finished: wine-2 is live" in page
    assert "mlops promote" not in page
    assert after.document["verdict"]["reason"] == verdict["reason"]
    assert any("is over" in note for note in after.document["notes"])

    newest, earlier, *_ = market.ok("history", "--json").document["revisions"]
    assert (newest["state"], earlier["state"]) == ("live", "replaced")
    intent = newest["intent"]
    assert intent["action"] == "promote"
    assert intent["reason"] == verdict["reason"]
    assert intent["evidence"]["verdict"]["n"] == verdict["n"] >= 260
    assert intent["evidence"]["arms"][1]["name"] == "wine-2"
    assert "@" in newest["author"]
    assert newest["live_ms"] >= newest["created_ms"] - 1000
    # Another model alone does not bring the test back, and promoting says what is the matter.
    market.ok("deploy", "--model", "wine/1")
    assert market.run("report", "--exit-code").code == 16
    refused = market.run("promote", "--json")
    assert refused.code == 7
    assert f"rollback wine --to {revision}" in refused.error["hint"]
    market.ok("rollback", "--to", str(revision + 1))

    text = market.ok("history").out
    assert "wine@champion → 2" in text
    assert "wine-2 (wine/2) 100 %  reward " in text

    assert "would serve" in market.ok("rollback", "--dry-run").out
    assert market.ledger.live_number() == revision + 3
    words = ("rollback", "--to", str(revision), "--reason", "too sweet", "--json")
    back = market.ok(*words).document
    assert (back["action"], back["revision"]) == ("rollback", revision + 4)
    assert champion(market) == 0
    assert {market.ask()[1] for _ in range(40)} == {"wine-1", "wine-2"}
    assert (
        market.ok("history", "--json").document["revisions"][0]["intent"]["reason"] == "too sweet"
    )
    # The evidence of the experiment is there again.
    assert market.ok("report", "--json").document["verdict"]["n"] == verdict["n"]


def test_late_feedback_is_credited_and_counted(market: Shop) -> None:
    market.ok("deploy", "--ab", "wine/1", "wine/2", "--reward", "exact")
    request_id, arm = market.ask()
    revision = market.ledger.live_number()
    market.ok("deploy", "--ab", "wine/1", "wine/2", "--split", "30/70", "--reward", "exact")
    words = ("feedback", "--request-id", request_id, "--truth", "6")
    outcome = market.ok(*words, "--json").document["outcome"]
    # `fate` is the old name of `status`.
    told = {"status": "accepted", "fate": "accepted"}
    assert outcome == {**told, "arm": arm, "revision": revision, "late": True}
    report = market.ok("report", "--json").document
    assert report["revisions"] == [revision, revision + 1]
    assert report["verdict"]["n"] == 1
    assert any("replaced" in note for note in report["notes"])


def test_by_force_and_with_a_reason(market: Shop) -> None:
    market.ok("deploy", "--ab", "wine/1", "wine/2")
    assert market.run("promote", "--force", "we must", "--json").error["code"] == "usage"
    unknown = market.run("promote", "--arm", "wine-9", "--force", "x", "--json")
    assert unknown.code in (3, 7)
    assert "wine-1" in unknown.error["hint"]
    moved = market.ok("promote", "--arm", "wine-1", "--force", "we must", "--json").document
    assert moved["reason"] == "we must"
    assert champion(market) == 1
    assert market.ok("rollback", "--json").document["aliases"] == [
        {"model": "wine", "alias": "champion", "version": 0, "before": 1}
    ]


def test_one_absurd_outcome_does_not_end_an_experiment(market: Shop) -> None:
    market.ok("deploy", "--ab", "wine/1", "wine/2", "--reward", "given", "--reset", "reward-range")
    asked = [market.ask()[0] for _ in range(60)]
    for number, request_id in enumerate(asked[1:]):
        market.post("/feedback", {"request_id": request_id, "reward": number % 7})
    poison = ("feedback", "--request-id", asked[0], "--reward")
    refused = market.run(*poison, "1e200", "--json")
    assert refused.code == 3
    assert "larger than 1e+60" in refused.error["message"]
    market.ok(*poison, "1e60")
    poisoned = market.ok("report", "--json").document
    assert any("1e+60 or more" in note for note in poisoned["notes"])
    assert "</html>" in market.ok("report", "--html", "-").out

    void = ("journal", "void", "--request-id", asked[0])
    assert market.run(*void).code == 2
    assert market.run("journal", "void", "--request-id", "x" * 48, "--reason", "r").code == 3
    assert market.ok(*void, "--reason", "sent by a [robot]", "--json").document["outcomes"] == 1
    assert market.run(*void, "--reason", "again").code == 5
    cleaned = market.ok("report", "--json").document
    assert cleaned["verdict"]["n"] == poisoned["verdict"]["n"] - 1
    assert any("1 outcome was voided" in note for note in cleaned["notes"])
    assert "sent by a [robot]" in market.ok("journal", "void", "--list").out
    # The genuine outcome is taken now.
    market.ok("feedback", "--request-id", asked[0], "--reward", "3")
    assert market.ok("report", "--json").document["verdict"]["n"] == poisoned["verdict"]["n"]


def test_force_needs_no_report(market: Shop) -> None:
    market.ok("deploy", "--ab", "wine/1", "wine/2")
    journal = SqlJournal(f"sqlite:///{market.folder / '.mlops/journal/wine.db'}")
    journal.record([RevisionEvent(10_000, 1, "live", {"arms": 5})])
    try:
        assert market.run("report").code == 3
        said = market.ok("promote", "--arm", "wine-2", "--force", "the report is broken", "--json")
        assert said.document["spec"]["arms"][0]["name"] == "wine-2"
        assert "Going on without the report" in said.err
        market.ok("rollback")
    finally:
        with journal._transaction() as connection:
            connection.execute(text("DELETE FROM revisions WHERE revision = 10000"))
        journal.close()


def test_rollback_to_a_revision(market: Shop) -> None:
    market.ok("deploy", "--model", "wine/1")
    first = market.ledger.live_number()
    market.ok("promote", "--arm", "wine-1", "--force", "it is alone")
    assert champion(market) == 1
    market.ok("deploy", "--model", "wine/2")
    market.ok("deploy", "--ab", "wine/1", "wine/2", "--split", "10/90")
    back = market.ok("rollback", "--to", str(first), "--json").document
    assert [arm["name"] for arm in back["spec"]["arms"]] == ["wine-1"]
    assert champion(market) == 0
    for number in ("99", str(back["revision"])):
        said = market.run("rollback", "--to", number, "--json")
        assert said.code == 5
        assert str(first) in said.error["hint"]


def test_different_models_pass_the_crown(market: Shop) -> None:
    client = open_registry(market.settings)
    client.create_registered_model("beer")
    client.create_model_version("beer", source=client.get_model_version("wine", "2").source)
    client.set_registered_model_alias("wine", "champion", "1")
    market.ok("deploy", "--ab", "wine", "beer")
    market.ok("promote", "--arm", "beer", "--force", "cheaper")
    assert (champion(market, "wine"), champion(market, "beer")) == (0, 1)
    market.ok("rollback")
    assert (champion(market, "wine"), champion(market, "beer")) == (1, 0)
    client.delete_registered_model_alias("wine", "champion")


def test_promote_and_rollback_of_a_stopped_deployment(market: Shop) -> None:
    market.ok("deploy", "--ab", "wine/1", "wine/2", "--split", "60/40")
    market.ok("stop")
    moved = market.ok("promote", "--arm", "wine-2", "--force", "x", "--json").document
    assert moved["url"] == market.state.url
    assert {market.ask()[1] for _ in range(5)} == {"wine-2"}
