"""`mlops report --paired`, through the door."""

from __future__ import annotations

import csv
import json
import urllib.request

import pytest

from tests.chance import by_chance
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop


@by_chance
def test_both_models_are_asked_about_the_same_customers(wine_shop: Shop) -> None:
    wine_shop.ok("deploy", "--ab", "modelA", "modelB")
    assert wine_shop.run("report", "--paired").code == 5
    before = wine_shop.ok("feedback", "--once").out
    assert "accepted 400" in before
    found = wine_shop.ok("report", "--paired", "--json").document
    assert found["rows"] == 400
    # The truth of all 400, whichever arm answered: the same figures by hand.
    with (wine_shop.folder / "data" / "customers.csv").open(newline="") as file:
        truths = [float(row["quality"]) for row in csv.DictReader(file)]
    for index, arm in enumerate(("modelA", "modelB")):
        with (wine_shop.folder / "data" / "customers.csv").open() as file:
            text = file.read()
        answered = wine_shop.ok("predict", "--data", "-", "--arm", arm, "--json", stdin=text)
        errors = [
            (prediction - truth) ** 2
            for prediction, truth in zip(answered.document["predictions"], truths, strict=True)
        ]
        assert found["means"][index] == pytest.approx(-sum(errors) / 400)
    (comparison,) = found["comparisons"]
    assert comparison["n"] == 400
    report = wine_shop.ok("report", "--json").document
    # 400 requests do not decide what was earned; all arms asked about the same 400 rows do.
    assert report["comparisons"][0]["lower"] < 0 < report["comparisons"][0]["upper"]
    assert comparison["upper"] < 0
    verdict = report["verdict"]
    reasons = f"{verdict['reason']} {report['paired']['verdict']['reason']}"
    assert (verdict["decision"], verdict["winner"]) == ("keep", "modelA"), reasons
    assert report["paired"]["comparisons"] == [comparison]
    # The server's own report is the same, and stays so while it remembers its answers.
    for _ in range(2):
        with urllib.request.urlopen(f"{wine_shop.state.url}/report.json") as answer:
            served = json.load(answer)
        for part in ("verdict", "paired", "gates", "comparisons", "notes", "analysis"):
            assert served[part] == report[part], part
    # It asked them already, so no note advises it.
    assert not any("--paired" in note for note in report["notes"])
    # The two share what the project is ready to risk.
    assert report["verdict"]["alpha"] == pytest.approx(0.05)
    assert comparison["alpha"] == report["comparisons"][0]["alpha"] == pytest.approx(0.025)
    assert "every arm on the same 400 labelled rows" in wine_shop.ok("report").out
    # A model that was never live is scored the same way; here one that was, as its own oracle.
    alone = wine_shop.ok("evaluate", "wine@modelB", "--on", "wine", "--json").document
    fits("evaluate", alone)
    assert (alone["kind"], alone["decisions"]) == ("model", 400)
    assert alone["estimates"][0]["value"] == pytest.approx(found["means"][1])
    gains = {each["than"]: each["estimates"][0]["value"] for each in alone["gains"]}
    assert gains["modelB"] == pytest.approx(0, abs=1e-6)
    assert gains["modelA"] < gains["served"] < 0
    verdict = found["verdict"]
    assert (verdict["decision"], verdict["winner"]) == ("keep", "modelA"), verdict["reason"]
    assert (verdict["arm"], verdict["baseline"]) == ("modelB", "modelA")
    said = wine_shop.run("report", "--paired", "--exit-code")
    assert said.code == 10
    assert "keep: modelA" in said.out
    assert "next: mlops promote wine --arm modelA --force" in said.out
    assert wine_shop.run("report", "--paired", "--html", "x.html").code == 2
    # Asking was off the books.
    assert sum(arm["requests"] for arm in report["arms"]) == 400
    # The result outlives the arm that cannot be asked any more, for every reader.
    wine_shop.ok("promote", "--arm", "modelA")
    after = wine_shop.ok("report", "--json").document
    assert after["finished"]["arm"] == "modelA"
    assert after["paired"] == report["paired"]
    assert after["verdict"] == report["verdict"]
    ended = wine_shop.ok("report").out
    assert "finished, it was keep: modelA" in ended
    assert "every arm on the same 400 labelled rows" in ended
    for path in ("report.json", "verdict.json"):
        with urllib.request.urlopen(f"{wine_shop.state.url}/{path}") as answer:
            served = json.load(answer)
        said = served.get("verdict", served)
        assert (said["decision"], said["winner"]) == ("keep", "modelA"), path


def test_what_cannot_be_paired_is_refused(wine_shop: Shop) -> None:
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--reward", "given")
    said = wine_shop.run("report", "--paired", "--json")
    assert said.code == 3
    assert "given" in said.error["message"]
    wine_shop.ok("deploy", "--model", "modelA")
    assert wine_shop.run("report", "--paired").code == 3
