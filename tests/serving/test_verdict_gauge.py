"""The verdict among the metrics: where it cannot be made, and how long the last one counts."""

from __future__ import annotations

import asyncio
import json

import pytest

from mlops.errors import NotFoundError
from mlops.serving.report import VerdictGauge
from mlops.spec.metrics import GUARDRAILS, VERDICT

_SAID = json.dumps({"result": 2.0, "guardrails": 1.0})


class Scraped:
    """A gauge, and what a test decides about it."""

    def __init__(self) -> None:
        self.now_s, self.revision, self.wanted = 1_000.0, 7, True
        self.fault: Exception | None = None
        #: A renewal waits for it.
        self.done = asyncio.Event()
        self.done.set()
        self.begun = 0
        self._gauge = VerdictGauge(
            self._verdict, lambda: self.wanted, lambda: self.revision, lambda: self.now_s
        )

    async def _verdict(self) -> str:
        self.begun += 1
        await self.done.wait()
        if self.fault is not None:
            raise self.fault
        return _SAID

    async def scrape(self, later_s: float = 15.0) -> float:
        """Return both values in one, and let the renewal come as far as it can."""
        self.now_s += later_s
        found = self._gauge()
        for _ in range(5):
            await asyncio.sleep(0)
        return found[VERDICT] + 10 * found[GUARDRAILS]


@pytest.mark.parametrize("fault", [NotFoundError("There is no evidence."), ZeroDivisionError()])
def test_a_verdict_that_cannot_be_made_leaves_the_one_before_for_minutes(fault: Exception) -> None:
    async def scrapes() -> list[float]:
        scraped = Scraped()
        found = [await scraped.scrape()]
        scraped.fault = fault
        found += [await scraped.scrape(), await scraped.scrape(), await scraped.scrape(260)]
        found.append(await scraped.scrape())
        scraped.fault = None
        return [*found, await scraped.scrape(), await scraped.scrape()]

    assert asyncio.run(scrapes()) == [0.0, 12.0, 12.0, 12.0, 0.0, 0.0, 12.0]


def test_a_verdict_is_of_one_revision() -> None:
    async def scrapes() -> list[float]:
        scraped = Scraped()
        found = [await scraped.scrape(), await scraped.scrape()]
        scraped.revision = 8
        found += [await scraped.scrape(), await scraped.scrape()]
        # One that is under way when another revision goes live is about the one before.
        scraped.done.clear()
        found.append(await scraped.scrape())
        scraped.revision = 9
        scraped.done.set()
        found.append(await scraped.scrape())
        return [*found, await scraped.scrape(), await scraped.scrape()]

    assert asyncio.run(scrapes()) == [0.0, 12.0, 0.0, 12.0, 12.0, 0.0, 0.0, 12.0]


def test_after_a_pause_of_the_scrapes_it_is_made_again_first() -> None:
    async def scrapes() -> list[float]:
        scraped = Scraped()
        found = [await scraped.scrape(), await scraped.scrape()]
        return [*found, await scraped.scrape(7_200), await scraped.scrape()]

    assert asyncio.run(scrapes()) == [0.0, 12.0, 0.0, 12.0]


def test_while_a_large_journal_is_read_the_one_before_counts() -> None:
    async def scrapes() -> list[float]:
        scraped = Scraped()
        await scraped.scrape()
        scraped.done.clear()
        found = [await scraped.scrape() for _ in range(40)]
        assert scraped.begun == 2
        # Not for ever: a reading that takes so long hangs.
        return [*found, await scraped.scrape(3_600)]

    assert asyncio.run(scrapes()) == [12.0] * 40 + [0.0]


def test_without_guardrails_nothing_is_made_or_kept() -> None:
    async def scrapes() -> list[float]:
        scraped = Scraped()
        found = [await scraped.scrape(), await scraped.scrape()]
        scraped.wanted = False
        found.append(await scraped.scrape())
        assert scraped.begun == 2
        scraped.wanted = True
        return [*found, await scraped.scrape(), await scraped.scrape()]

    assert asyncio.run(scrapes()) == [0.0, 12.0, 0.0, 0.0, 12.0]
