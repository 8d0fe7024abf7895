"""The verdict among the metrics, where it cannot be made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from mlops.errors import NotFoundError
from mlops.serving.report import VerdictGauge
from mlops.spec.metrics import GUARDRAILS, VERDICT


@pytest.mark.parametrize("fault", [NotFoundError("There is no evidence."), ZeroDivisionError()])
def test_a_verdict_that_cannot_be_made_leaves_the_one_before(fault: Exception) -> None:
    answers: Iterator[str | Exception] = iter(
        [json.dumps({"result": 2.0, "guardrails": 1.0}), fault, fault]
    )

    async def verdict() -> str:
        said = next(answers)
        if isinstance(said, Exception):
            raise said
        return said

    async def scrapes() -> list[float]:
        gauge, found = VerdictGauge(verdict, lambda: True), []
        for _ in range(3):
            found.append(gauge()[VERDICT] + 10 * gauge()[GUARDRAILS])
            await asyncio.sleep(0.01)
        return found

    assert asyncio.run(scrapes()) == [0.0, 12.0, 12.0]
