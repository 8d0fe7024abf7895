"""The report as a page: whole, honest about what is missing, and safe to open."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlops.errors import NotFoundError
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.page import read_page, render_page, report_page
from mlops.monitoring.verdict import Decision
from mlops.monitoring.verdict_text import in_words
from tests.monitoring.journals import START_MS, Draw, Stage, fill, labels, numbers

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

HOSTILE = "</style></script><img src=//evil.example/x onerror=alert(1)>\"'&{{7*7}}`"


@dataclass(frozen=True)
class Case:
    """An experiment, and the verdict that it must come to."""

    verdict: Decision
    names: Sequence[str]
    stages: Sequence[Stage]
    draw: Draw
    reward: str = "squared-error"
    sticky_by: str = ""
    reward_range: tuple[float, float] | None = None


AB, SAME = ["a", "b"], numbers([0, 0])
EVEN = [Stage([0.5, 0.5], 2_000)]
CASES = {
    "no traffic": Case("continue", AB, [Stage([0.5, 0.5], 0)], SAME),
    "one request": Case("continue", AB, [Stage([0.5, 0.5], 1)], SAME),
    "no feedback": Case("continue", AB, [Stage([0.5, 0.5], 50, rated=0)], SAME),
    "burn-in": Case("continue", AB, [Stage([0.9, 0.1], 200)], SAME),
    "one arm": Case("continue", ["a"], [Stage([1.0], 300)], numbers([0])),
    "undecided": Case("continue", AB, EVEN, SAME),
    "promote": Case("promote", AB, EVEN, numbers([0.6, 0])),
    "keep": Case("keep", AB, EVEN, numbers([0, 0.6])),
    "all alike": Case("continue", AB, EVEN, labels([1.0, 1.0]), reward="exact"),
    "labels": Case("promote", AB, EVEN, labels([0.6, 0.9]), reward="exact"),
    "truths without reward": Case("continue", AB, EVEN, SAME, reward="given"),
    "one is out": Case("continue", list("abc"), [Stage([1 / 3] * 3, 3_000)], numbers([0, 0.9, 0])),
    "mismatch": Case("invalid", AB, [Stage([0.5, 0.5], 2_000, actual=[0.7, 0.3])], SAME),
    "six arms": Case("continue", list("abcdef"), [Stage([1 / 6] * 6, 1_200)], numbers([0] * 6)),
    "weights changed": Case(
        "promote",
        AB,
        [Stage([0.9, 0.1], 2_000, 5), Stage([0.5, 0.5], 2_000, 700)],
        numbers([0.6, 0]),
    ),
    "declared range": Case("promote", AB, EVEN, numbers([1.2, 0]), reward_range=(-36.0, 0.0)),
    "range, one request": Case(
        "continue", AB, [Stage([0.5, 0.5], 1)], SAME, reward_range=(-36.0, 0.0)
    ),
    "hostile": Case("continue", ["a", HOSTILE], [Stage([0.5, 0.5], 600)], SAME, sticky_by=HOSTILE),
}


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], SqlJournal]]:
    """Journals of the cases, each filled once."""
    folder = tmp_path_factory.mktemp("journals")
    made: dict[str, SqlJournal] = {}

    def journal_of(case: str) -> SqlJournal:
        if case not in made:
            made[case] = SqlJournal(f"sqlite:///{folder / case.replace(' ', '-')}.db")
            it = CASES[case]
            fill(
                made[case], it.names, it.stages, it.draw,
                reward=it.reward, sticky_by=it.sticky_by, reward_range=it.reward_range,
            )  # fmt: skip
        return made[case]

    yield journal_of
    for journal in made.values():
        journal.close()


class Parsed(HTMLParser):
    """What a browser would make of a page: tags balanced, attributes, text."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def has(self, text: str) -> bool:
        return text in " ".join(" ".join(self.text).split())


@pytest.mark.parametrize("case", CASES)
def test_every_case_comes_to_its_verdict_and_names_every_arm(
    journals: Callable[[str], SqlJournal], case: str
) -> None:
    page = read_page(journals(case))
    assert page.report.verdict.decision == CASES[case].verdict
    parsed = Parsed(render_page(page))
    for arm in page.report.arms:
        assert parsed.has(arm.name)
    assert parsed.has("How to read this")
    assert parsed.has("arXiv:2103.06476")
    assert parsed.has(page.report.experiment)


@pytest.mark.parametrize("case", CASES)
def test_no_number_on_the_page_is_broken(journals: Callable[[str], SqlJournal], case: str) -> None:
    parsed = Parsed(report_page(journals(case)))
    everything = " ".join([*parsed.text, *(value for _, _, value in parsed.attributes)])
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", everything)
    for tag, name, value in parsed.attributes:
        if tag in ("text", "line", "rect", "circle") and name in ("x", "y", "x1", "y1", "cx", "cy"):
            assert re.fullmatch(r"-?\d+(\.\d+)?%?", value), (tag, name, value)
        if name == "d":
            assert "nan" not in value


def test_the_page_says_why_importances_are_not_known(
    journals: Callable[[str], SqlJournal],
) -> None:
    html = report_page(journals("hostile"), no_importance="There are <b>no</b> requests yet.")
    assert Parsed(html).has("Not known. There are <b>no</b> requests yet.")
    assert "What the answers depend on" not in report_page(journals("hostile"))


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("case", ["hostile", "weights changed"])
def test_the_page_loads_nothing(
    journals: Callable[[str], SqlJournal], case: str, live: bool
) -> None:
    html = report_page(journals(case), live=live)
    parsed = Parsed(html)
    for tag, name, value in parsed.attributes:
        assert name not in ("src", "srcset", "action", "background", "data", "style"), (tag, name)
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "xlink:href"):
            assert value in ("data:,", "#content", "docs"), (tag, value)
    assert not re.search(r"url\(|@import", html)
    assert "img" not in {tag for tag, _, _ in parsed.attributes}


def test_the_policy_allows_its_own_style_and_script_and_nothing_else(
    journals: Callable[[str], SqlJournal],
) -> None:
    html = report_page(journals("hostile"))
    policy = next(v for _, name, v in Parsed(html).attributes if name == "content" and "src" in v)
    for tag in ("style", "script"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(found) == 1
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy


def test_only_a_live_page_renews_itself(journals: Callable[[str], SqlJournal]) -> None:
    names = [name for _, name, _ in Parsed(report_page(journals("keep"))).attributes]
    assert "data-refresh" not in names
    live = report_page(journals("keep"), live=True)
    assert ("body", "data-refresh", "30") in Parsed(live).attributes
    assert "connect-src &#39;self&#39;" in live


@pytest.mark.parametrize(
    ("case", "headline", "said"),
    [
        ("promote", "Promote b", "The squared error of b is"),
        ("keep", "Keep a", "mlops promote wine"),
        ("labels", "Promote b", "percentage points more often than a"),
        ("undecided", "Not decided yet", "includes no difference"),
        ("burn-in", "Too early to tell", "needs 50 outcomes per arm"),
        ("no traffic", "No traffic yet", "mlops feedback wine"),
        ("no feedback", "No feedback yet", "50 requests were answered"),
        ("one arm", "One arm, nothing to compare", "All traffic goes to one model"),
        ("mismatch", "Do not compare: the split is broken", "Not to be trusted"),
    ],
)
def test_the_verdict_is_said_in_words(
    journals: Callable[[str], SqlJournal], case: str, headline: str, said: str
) -> None:
    html = report_page(journals(case))
    found = re.search(r"<h1>(.*?)</h1>", html)
    assert found
    assert re.sub(r"<.*?>", "", found[1]) == headline
    assert Parsed(html).has(said) or said in re.sub(r"<.*?>", "", html)


def test_the_gain_in_words_is_the_interval_of_the_verdict(
    journals: Callable[[str], SqlJournal],
) -> None:
    page = read_page(journals("keep"))
    verdict = page.report.verdict
    assert verdict.lower is not None
    assert verdict.upper is not None
    text = re.sub(r"<.*?>", "", render_page(page))
    found = re.search(r"true gain lies between ([\d.]+) and ([\d.]+)\.", text)
    assert found
    assert [float(found[1]), float(found[2])] == pytest.approx(
        [-verdict.upper, -verdict.lower], rel=0.01
    )


def test_the_words_speak_of_the_comparison_that_the_verdict_speaks_of(
    journals: Callable[[str], SqlJournal],
) -> None:
    for case in CASES:
        report = read_page(journals(case)).report
        about = in_words(report).about
        assert (about is None) == (report.verdict.effect is None), case
        assert about is None or about.estimate == report.verdict.effect, case
    report = read_page(journals("one is out")).report
    assert report.comparisons[0].upper < 0
    assert "mean reward of `c` differs from that of `a`" in in_words(report).why


def test_another_baseline_turns_the_comparison(journals: Callable[[str], SqlJournal]) -> None:
    parsed = Parsed(report_page(journals("promote"), baseline="b"))
    assert parsed.has("a minus b")
    assert parsed.has("Keep b") or parsed.has("b baseline")


def test_curves_are_dense_and_end_where_the_report_does(
    journals: Callable[[str], SqlJournal],
) -> None:
    page = read_page(journals("promote"))
    course, comparison = page.timeline.courses[0], page.report.comparisons[0]
    assert 100 <= len(course.looks) <= 200
    last = course.looks[-1]
    assert (last.n, last.estimate, last.lower, last.upper) == (
        comparison.n, comparison.estimate, comparison.lower, comparison.upper,
    )  # fmt: skip
    assert course.opened is not None
    assert course.decided is not None
    assert course.opened <= course.decided
    before = [look for look in course.looks if look.n < course.opened]
    assert all(np.isinf(look.lower) for look in before)
    since = [look for look in course.looks if look.n >= course.decided]
    assert all(look.lower > 0 for look in since)


def test_traffic_over_time_counts_every_drawn_request(
    journals: Callable[[str], SqlJournal],
) -> None:
    page = read_page(journals("weights changed"))
    drawn = [0, 0]
    for part in page.timeline.traffic:
        assert part.start_ms % page.timeline.width_ms == 0
        drawn[part.arm] += part.drawn
    assert drawn == [arm.requests for arm in page.report.arms]
    assert len({part.start_ms for part in page.timeline.traffic}) <= 73
    # 2,000 requests at 90/10 and 2,000 at 50/50.
    assert page.timeline.promised == pytest.approx([0.7, 0.3])
    assert [change.revision for change in page.timeline.changes] == [1, 2]


def test_a_simulation_is_flagged_beside_the_verdict(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    fill(journal, AB, EVEN, numbers([0, 0.6]))
    for text in ("simulated: draws from 400 rows", "the router was changed"):
        journal.record([RevisionEvent(1, START_MS, "note", {"text": text})])
    html = report_page(journal)
    journal.close()
    assert html.index("draws from 400 rows") < html.index('id="h-difference"')
    assert html.index("the router was changed") > html.index('id="h-notes"')


def test_times_are_in_utc_whatever_the_zone_of_the_clock(
    journals: Callable[[str], SqlJournal],
) -> None:
    tokyo = dt.timezone(dt.timedelta(hours=9))
    now = dt.datetime(2026, 3, 2, 3, 4, 5, tzinfo=tokyo)
    assert "1 Mar 2026, 18:04:05 UTC" in render_page(read_page(journals("keep")), now=now)


def test_without_a_deployment_there_is_no_page(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    with pytest.raises(NotFoundError):
        report_page(journal)
    journal.close()


# In a browser


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("case", ["keep", "six arms", "hostile", "no traffic"])
def test_the_page_fits_its_window(
    journals: Callable[[str], SqlJournal],
    browser: Chrome,
    tmp_path: Path,
    case: str,
    width: int,
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report_page(journals(case)), encoding="utf-8")
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    browser.get(file.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('.plot > svg')]"
        ".map(s => s.getBoundingClientRect()).map(r => [r.width, r.height])"
    )
    assert len(sizes) == {"keep": 3, "six arms": 7, "hostile": 3, "no traffic": 0}[case]
    assert all(w > 200 and h > 100 for w, h in sizes)
    # Errors of the script, and what the policy forbade.
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call] # selenium's
    assert browser.execute_script("return document.images.length") == 0


def test_nothing_is_folded_on_paper(
    journals: Callable[[str], SqlJournal], browser: Chrome, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report_page(journals("keep")), encoding="utf-8")
    browser.get(file.as_uri())
    folded = "return document.querySelectorAll('details:not([open])').length"
    assert browser.execute_script(folded) > 0
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(folded) == 0
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(folded) > 0
