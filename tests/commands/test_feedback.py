from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.fixtures_deployment import Said, Shop, open_shop
from tests.fixtures_training import TrainedWine


@pytest.fixture(scope="module")
def played(
    trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Shop, Said]]:
    """A deployment that every customer visited once, and what the command said.

    Who meets which model is chance: one split in a hundred is a mismatch, and as many make labels
    look as if they depended on the answer. Such a split is drawn again.
    """
    for _ in range(4):
        opened = open_shop(trained_wine, tmp_path_factory.mktemp("played") / "wine")
        try:
            opened.ok("deploy", "--ab", "modelA", "modelB")
            said = opened.ok("feedback", "--once", "--json")
            report = opened.ok("report", "--json").document
            doubt = report["paired"]["verdict"]["decision"] == "withheld"
            if not (doubt or report["sample_ratio"]["mismatch"]):
                yield opened, said
                return
        finally:
            opened.close()
    pytest.fail(f"four splits in a row are in doubt: {report['verdict']['reason']}")


def test_four_hundred_customers_decide(played: tuple[Shop, Said]) -> None:
    shop, said = played
    assert said.document["visits"] == 400
    assert said.document["simulated"] is False
    assert said.document["counts"] == {"accepted": 400}
    report = shop.run("report", "--json", "--exit-code")
    # Both models are asked about each labelled row, and such pairs decide sooner than the split.
    assert report.code == 10
    document = report.document
    assert document["verdict"]["decision"] == "keep"
    assert document["verdict"]["winner"] == "modelA"
    assert document["verdict"]["n"] == 400
    assert [arm["name"] for arm in document["arms"]] == ["modelA", "modelB"]
    assert sum(arm["requests"] for arm in document["arms"]) == 400
    # Rewards come from the truth: minus the squared error.
    for arm in document["arms"]:
        assert arm["quality"]["n"] == arm["n"]
        # 0.64 over all customers for modelA; whom an arm gets is chance, and moves it by 0.025.
        assert 0.5 < arm["quality"]["rmse"] < 0.8
        assert arm["latency_ms"] > 0
    assert document["sample_ratio"]["mismatch"] is False
    assert not any("simulated" in note for note in document["notes"])
    assert shop.run("report").code == 0
    # The other arm is not promoted on such evidence; the baseline would be, and that ends the test.
    refused = shop.run("promote", "--arm", "modelB", "--json")
    assert refused.code == 7
    assert "--arm modelB --force" in refused.error["hint"]
    assert "would serve" in shop.ok("promote", "--dry-run").out
    assert shop.ledger.numbers() == [1]


def test_the_other_baseline(played: tuple[Shop, Said]) -> None:
    shop, _ = played
    ours = shop.ok("report", "--json").document["comparisons"][0]
    theirs = shop.ok("report", "--json", "--baseline", "modelB").document["comparisons"][0]
    assert (theirs["arm"], theirs["baseline"]) == ("modelA", "modelB")
    assert theirs["estimate"] == pytest.approx(-ours["estimate"])
    unknown = shop.run("report", "--json", "--baseline", "modelC")
    assert unknown.code == 3
    assert "`modelA`, `modelB`" in unknown.error["hint"]


@pytest.mark.parametrize("width", ["60", "80", "140"])
def test_a_report_fits_its_terminal(
    played: tuple[Shop, Said], width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, _ = played
    monkeypatch.setenv("COLUMNS", width)
    out = shop.ok("report").out
    # Sentences are left to the terminal to wrap, what is drawn is not.
    drawn = [line for line in out.splitlines() if not line.startswith("note: ")]
    assert [line for line in drawn if len(line) > int(width)] == []
    # Not a word of the reason is lost.
    reason = shop.ok("report", "--json").document["verdict"]["reason"]
    assert "".join(reason.split()) in "".join(out.replace("│", " ").split())


def test_one_outcome_by_hand(shop: Shop) -> None:
    request_id, arm = shop.ask()
    first = shop.ok("feedback", "--request-id", request_id, "--truth", "6", "--json").document
    assert first["counts"] == {"accepted": 1}
    # `fate` is the old name of `status`.
    told = {"status": "accepted", "fate": "accepted"}
    assert first["outcome"] == {**told, "arm": arm, "revision": 1, "late": False}
    again = shop.run("feedback", "--request-id", request_id, "--reward", "-2", "--row", "0")
    # About the whole request before, about its only row now.
    assert again.code == 7
    twice = shop.ok("feedback", "--request-id", request_id, "--truth", "6", "--json").document
    assert twice["counts"] == {"duplicate": 1}
    other = shop.run("feedback", "--request-id", request_id, "--truth", "7", "--json")
    assert other.code == 7
    assert "another outcome, which counts" in other.error["message"]
    row = shop.run("feedback", "--request-id", request_id, "--truth", "7", "--row", "5", "--json")
    assert row.code == 3
    assert "fewer rows" in row.error["message"]


def test_a_list_holds_one_label_per_row(shop: Shop) -> None:
    request_id, _ = shop.ask()
    said = shop.run("feedback", "--request-id", request_id, "--truth", "[6, 5]")
    assert said.code == 3
    assert "the request has 1 row, and a list holds one value for each" in said.err
    assert shop.ok("feedback", "--request-id", request_id, "--truth", "6").out.startswith(
        "accepted"
    )
    alone = shop.ok("feedback", "--request-id", shop.ask()[0], "--truth", "[6]")
    assert "accepted" in alone.out


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_table_of_outcomes_is_no_rows_to_predict(shop: Shop, tmp_path: Path, form: str) -> None:
    ids = [shop.ask()[0] for _ in range(2)]
    table = pd.DataFrame({"request_id": [*ids, "A" * 48], "quality": [6, 5, 4]})
    file = tmp_path / f"outcomes.{form}"
    if form == "csv":
        table.to_csv(file, index=False)
    elif form == "json":
        table.to_json(file, orient="records")
    else:
        table.to_parquet(file)
    words = ("feedback", "--data", str(file), "--truth-column", "quality", "--json")
    said = shop.run(*words)
    assert said.document["counts"] == {"accepted": 2, "forged": 1}
    assert said.document["problems"][0]["line"] == (4 if form == "csv" else 3)
    assert said.code == 3


def test_what_was_interrupted_can_be_gone_on_with(shop: Shop, tmp_path: Path) -> None:
    lines = (shop.folder / "data" / "customers.csv").read_text().splitlines()
    file = tmp_path / "bad.csv"
    file.write_text("\n".join(lines[:6]))
    words = ("--data", str(file), "--truth-column", "quality", "--once", "--json")
    assert shop.ok("feedback", *words, "--skip", "3").document["visits"] == 2
    assert shop.run("feedback", *words, "--skip", "5").code == 2


def test_a_forged_id_is_refused(shop: Shop) -> None:
    request_id, _ = shop.ask()
    forged = request_id[:-1] + ("A" if request_id[-1] != "A" else "B")
    said = shop.run("feedback", "--request-id", forged, "--truth", "6", "--json")
    assert said.code == 3
    assert "not made by this deployment" in said.error["message"]
    assert shop.run("feedback", "--request-id", "rubbish", "--truth", "6").code == 3


def test_a_stream(shop: Shop) -> None:
    ids = [shop.ask()[0] for _ in range(4)]
    lines = [
        {"request_id": ids[0], "truth": 6},
        {"request_id": ids[1], "reward": -0.5},
        {"request_id": ids[1], "reward": -0.5},
        {"request_id": "A" * 48, "truth": 6},
        {"request_id": ids[2], "truth": [5]},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    said = shop.run("feedback", "--data", "-", "--json", stdin=text)
    assert said.document["counts"] == {"accepted": 3, "duplicate": 1, "forged": 1}
    # What was refused is told by its line, and by the exit code.
    assert said.code == 3
    why = "this request id was not made by this deployment"
    forged = {"status": "forged", "fate": "forged"}
    assert said.document["problems"] == [{"line": 7, **forged, "error": why}]
    assert "1 outcome was refused" in said.err
    alone = shop.run("feedback", "--data", "-", "--json", stdin=f"\n{json.dumps(lines[3])}\n")
    assert alone.code == 3
    assert alone.document["problems"] == [{"line": 2, **forged, "error": why}]
    good = json.dumps({"request_id": ids[3], "truth": 6})
    assert shop.ok("feedback", "--data", "-", stdin=good).out == "feedback: accepted 1\n"
    assert shop.ok("feedback", "--data", "-", stdin="").out == "feedback: none\n"


def test_malformed_lines_are_named_and_the_others_stored(shop: Shop, tmp_path: Path) -> None:
    ids = [shop.ask()[0] for _ in range(2)]
    good = [json.dumps({"request_id": each, "truth": 6}) for each in ids]
    bad = {
        2: ("{", "not JSON: "),
        4: ("[1]", "an object is expected, not a list"),
        5: ('{"truth": 6}', "`request_id` is missing"),
        6: ('{"request_id": "x", "truht": 6}', "unknown key 'truht'"),
        7: ('{"request_id": "x", "reward": "good"}', "a reward must be a finite number"),
        8: ("x" * 100_001, "longer than 100,000 bytes"),
    }
    file = tmp_path / "late.ndjson"
    rest = "\n".join(text for text, _ in bad.values() if text != "{")
    file.write_text(f"{good[0]}\n{{\n\n{rest}\n{good[1]}\n")
    said = shop.run("feedback", "--data", str(file), "--json")
    assert said.code == 3
    assert said.document["counts"] == {"accepted": 2, "malformed": 6}
    assert [each["line"] for each in said.document["problems"]] == list(bad)
    for problem, (_, why) in zip(said.document["problems"], bad.values(), strict=True):
        assert problem["status"] == problem["fate"] == "malformed"
        assert why in problem["error"]
        assert "b'" not in problem["error"]
    again = shop.run("feedback", "--data", str(file))
    assert again.out == "feedback: duplicate 2, malformed 6\n"
    assert "line 4: malformed: an object is expected, not a list" in again.err
    assert shop.run("feedback", "--data", str(tmp_path / "none.ndjson")).code == 5


def test_many_rows_a_line_go_in_several_requests(shop: Shop) -> None:
    # 20,010 outcomes; a request takes 10,000.
    line = json.dumps({"request_id": "A" * 48, "truth": [5] * 6_670})
    said = shop.run("feedback", "--data", "-", "--json", stdin="\n".join([line] * 3))
    assert said.code == 3
    assert said.document["counts"] == {"forged": 20_010}
    assert {each["line"] for each in said.document["problems"]} == {1, 2, 3}


def test_a_bad_cell_is_named_and_not_the_first_row(shop: Shop, tmp_path: Path) -> None:
    lines = (shop.folder / "data" / "customers.csv").read_text().splitlines()
    header, table = lines[0].split(","), [line.split(",") for line in lines[1:20]]
    truth = header.index("quality")
    for index, text in ((0, "n.a."), (truth, "six")):
        bad = [list(row) for row in table]
        bad[5][index] = text
        file = tmp_path / f"bad-{index}.csv"
        file.write_text("\n".join(",".join(row) for row in [header, *bad]))
        words = ("--data", str(file), "--truth-column", "quality", "--once", "--json")
        said = shop.run("feedback", *words)
        assert said.code == 3
        reason = "is `six`, not a number" if index else "takes numbers, not `n.a.`"
        assert f"`{header[index]}` {reason}" in said.error["message"]
        assert "line 7" in said.error["message"]
    said = shop.run("predict", "--data", str(tmp_path / "bad-0.csv"), "--json")
    assert said.code == 3
    assert f"line 7: column `{header[0]}` takes numbers" in said.error["message"]


def test_draws_are_labelled_wherever_they_show(wine_shop: Shop) -> None:
    label = "simulated: draws from 400 rows"
    wine_shop.ok("deploy", "--ab", "modelA", "modelB")
    # Also where our own server is reached as any Seldon endpoint is.
    by_url = wine_shop.ok("feedback", "--url", wine_shop.state.url, "--limit", "1")
    assert label in by_url.out
    assert label in wine_shop.ok("report", "--json").document["notes"]
    assert wine_shop.run("rollback", "--json").code == 5
    # Four a second: the sixth comes after one and a quarter.
    start = time.monotonic()
    said = wine_shop.ok("feedback", "--limit", "6", "--rate", "4")
    assert time.monotonic() - start >= 5 / 4
    assert label in said.out
    assert "6 requests" in said.out
    assert label in wine_shop.ok("report", "--json").document["notes"]
    assert f"note: {label}" in wine_shop.ok("report").out
    document = wine_shop.ok("feedback", "--limit", "1", "--json").document
    assert (document["label"], document["simulated"]) == (label, True)
    once = wine_shop.ok("feedback", "--once", "--limit", "1", "--json").document
    assert "simulated" not in once["label"]
    # The project's draws are for the project's file, by whatever path it is named.
    own = wine_shop.folder / "data" / "customers.csv"
    lines = own.read_text().splitlines()
    (wine_shop.folder / "three.csv").write_text("\n".join(lines[:4]))
    words = ("--truth-column", "quality", "--json")
    for place in ((), ("--url", wine_shop.state.url)):
        three = wine_shop.ok("feedback", "--data", "three.csv", *place, *words).document
        assert (three["visits"], three["simulated"]) == (3, False)
    document = wine_shop.ok("feedback", "--data", str(own), "--limit", "2", *words).document
    assert document["simulated"] is True
    wine_shop.environ["MLOPS_FEEDBACK_DRAWS"] = "7"
    seven = wine_shop.ok("feedback", "--data", "three.csv", *words).document
    assert (seven["visits"], seven["simulated"]) == (7, True)


def test_rewards_that_are_given_are_sent_and_not_replayed(wine_shop: Shop) -> None:
    told = "next: mlops feedback wine --request-id ID --reward NUMBER"
    deployed = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--reward", "given").out
    assert "next: mlops feedback --request-id ID --reward NUMBER" in deployed
    assert "next: mlops feedback\n" not in deployed
    for place in ((), ("--url", wine_shop.state.url)):
        refused = wine_shop.run("feedback", "--once", *place, "--json")
        assert refused.code == 2
        assert "has the reward `given`" in refused.error["message"]
        where = " ".join(place) or "wine"
        assert f"`mlops feedback {where} --request-id ID --reward NUMBER`" in refused.error["hint"]
    assert wine_shop.ok("report", "--json").document["arms"][0]["requests"] == 0
    row = "\n".join((wine_shop.folder / "data" / "customers.csv").read_text().splitlines()[:2])
    predicted = wine_shop.ok("predict", "--data", "-", stdin=row).err
    request_id = predicted.partition("--request-id ")[2].split()[0]
    assert told.replace("ID", request_id) in predicted
    assert told in wine_shop.ok("report").out
    wine_shop.ok("feedback", "--request-id", request_id, "--reward", "1")
    labels = wine_shop.ok("feedback", "--once", "--limit", "3", "--without-reward", "--json")
    assert labels.document["counts"] == {"accepted": 3}


def test_a_reward_of_ones_own(wine_shop: Shop) -> None:
    (wine_shop.folder / "taste.py").write_text(
        "def close(prediction, truth):\n    return float(abs(prediction - truth) < 0.5)\n"
    )
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--reward", "taste:close")
    wine_shop.ok("feedback", "--once", "--limit", "120", "--truth-column", "quality")
    document = wine_shop.ok("report", "--json").document
    assert document["reward"] == "taste:close"
    rows = (wine_shop.folder / "data" / "customers.csv").read_text().splitlines()[1:121]
    assert len(rows) == 120
    means = [arm["mean"] for arm in document["arms"]]
    assert all(0 < mean < 1 for mean in means if mean is not None)
    # The truth is kept beside it.
    assert sum(arm["quality"]["n"] for arm in document["arms"]) == 120
    other = wine_shop.run("feedback", "--reward", "exact", "--json")
    assert other.code == 7
    assert "another experiment" in other.error["hint"]
    (wine_shop.folder / "taste.py").unlink()
    missing = wine_shop.run("feedback", "--reward", "no_such:reward", "--json")
    assert missing.code in (3, 7)


def test_any_seldon_endpoint(shop: Shop) -> None:
    before = shop.ok("report", "--json").document
    url = f"{shop.state.url}/seldon/shops/wine"
    said = shop.ok("feedback", "--url", url, "--once", "--limit", "30", "--json").document
    assert said["counts"] == {"sent": 30}
    assert said["name"] == url
    after = shop.ok("report", "--json").document
    assert sum(arm["n"] for arm in after["arms"]) == sum(a["n"] for a in before["arms"]) + 30
    # The truth came along, so quality is known too.
    truths = [sum(a["quality"]["n"] for a in each["arms"]) for each in (before, after)]
    assert truths[1] == truths[0] + 30


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--truth", "6"), 2),
        (("--reward", "0.5"), 2),
        (("--row", "1"), 2),
        (("--request-id", "x"), 2),
        (("--request-id", "x", "--reward", "good"), 2),
        (("--request-id", "x", "--reward", "nan"), 2),
        (("--request-id", "x", "--reward", "-inf"), 2),
        (("--limit", "0"), 2),
        (("--data", "nowhere.csv"), 5),
        (("--truth-column", "qualiti"), 3),
        (("--url", "ftp://host"), 3),
        (("--url", "http://127.0.0.1:9", "--once"), 6),
        (("--url", "http://127.0.0.1:9", "--token", "file:nowhere"), 3),
        (("beer",), 5),
    ],
)
def test_exit_codes(shop: Shop, words: tuple[str, ...], code: int) -> None:
    said = shop.run("feedback", *words, "--json")
    assert said.code == code
    assert said.error["message"]


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost:8080/x", "wine.example.com"])
def test_a_url_without_a_scheme(shop: Shop, url: str) -> None:
    error = shop.run("feedback", "--url", url, "--json").error
    assert error["message"] == f"`{url}` has no `http://` or `https://` before it."
    assert error["hint"] == f"`--url http://{url}`"
    assert "hunter2" not in shop.run("feedback", "--url", f"me:hunter2@{url}").err


@pytest.mark.parametrize("text", ["nan", "inf"])
def test_a_reward_is_finite(shop: Shop, text: str) -> None:
    said = shop.run("feedback", "--request-id", "x", "--reward", text, "--json")
    assert said.error["message"] == f"`--reward {text}` is not a finite number."


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("nosuch",), "No such command", "`mlops --help`"),
        (("deplyo",), "Did you mean 'deploy'", "`mlops --help`"),
        (("models", "lst"), "Did you mean 'list'", "`mlops models --help`"),
        (("deploy", "--nope"), "No such option", "`mlops deploy --help`"),
        (("--nope",), "No such option", "`mlops --help`"),
    ],
)
def test_help_that_there_is(shop: Shop, words: tuple[str, ...], message: str, hint: str) -> None:
    error = shop.run(*words, "--json").error
    assert message in error["message"]
    assert error["hint"] == hint


def test_the_closest_column_is_named(shop: Shop) -> None:
    assert "`quality`" in shop.run("feedback", "--truth-column", "qualiti", "--json").error["hint"]


def test_nothing_is_deployed(wine_shop: Shop) -> None:
    for words in (("feedback",), ("report",), ("promote",), ("logs",), ("stop",), ("history",)):
        said = wine_shop.run(*words)
        assert said.code == 5
        assert "deploy" in said.err
    assert wine_shop.ok("status", "--json").document["deployments"] == []
