"""What the consumers that watch have in common, shown by the one for quality."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlops.consumers.base import Batch, Context
from mlops.consumers.runner import Runner
from mlops.journal.consumer_records import Offset
from mlops.journal.sql import SqlJournal
from mlops.workflows.quality_consumer import QualityConsumer
from tests.monitoring.test_quality_watch import guesses, judge, opened


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    journal = opened(tmp_path, "squared-error")
    yield journal
    journal.close()


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


def consumer(journal: SqlJournal, clock: Clock) -> QualityConsumer:
    return QualityConsumer(Context("wine", journal, {}), clock)


def ready(journal: SqlJournal) -> dict[tuple[str, str], float]:
    readings = journal.readings(["quality"])
    return {(each.family, each.labels[-1]): each.value for each in readings}


def test_it_stores_every_few_seconds_and_alarms_once(journal: SqlJournal) -> None:
    rng, clock = np.random.default_rng(1), Clock()
    watching = consumer(journal, clock)
    runner = Runner(journal, "quality", watching, "me", clock)
    judge(journal, guesses(rng, 800, 0.6))
    runner.step()
    assert ready(journal)["mlops_quality_alarm", "rmse"] == 0
    judge(journal, guesses(rng, 400, 1.2), first=800)
    clock.now += 1
    runner.step()
    # Not stored yet, and so it is not that far.
    (progress,) = journal.progress(0)
    assert progress.offset == Offset(1_200, 800)
    assert ready(journal)["mlops_quality_alarm", "rmse"] == 0
    clock.now += 5
    runner.step()
    (progress,) = journal.progress(0)
    assert (progress.offset, progress.sent) == (Offset(1_200, 1_200), 1_200)
    assert progress.warning == "The answers of `a` are worse: `mlops monitor quality`."
    assert ready(journal)["mlops_quality_alarm", "rmse"] == 1
    told = [(each.consumer, each.details["measure"]) for each in journal.alarms()]
    assert ("quality", "rmse") in told
    # By another process, and after more of the same, it is the same alarm.
    judge(journal, guesses(rng, 400, 1.2), first=1_200)
    clock.now += 5
    consumer(journal, clock).consume(_nothing(journal))
    again = [(each.consumer, each.details["measure"]) for each in journal.alarms()]
    assert len(set(again)) == len(again)


def _nothing(journal: SqlJournal) -> Batch:
    end = journal.end()
    return Batch(journal.decisions(end.decisions, end.decisions, 1), [])


def test_one_that_was_silent_continues_from_what_another_stored(journal: SqlJournal) -> None:
    rng, clock = np.random.default_rng(2), Clock()
    first, second = consumer(journal, clock), consumer(journal, clock)
    judge(journal, guesses(rng, 100, 0.6))
    assert first.consume(_nothing(journal)).sent == 100
    judge(journal, guesses(rng, 50, 0.6), first=100)
    clock.now += 60
    assert second.consume(_nothing(journal)).sent == 50
    clock.now += 1
    # What the other has stored is not read again.
    assert first.consume(_nothing(journal)).sent == 0
    assert first.consume(_nothing(journal)).offset == Offset(150, 150)


def test_half_of_a_batch_is_not_kept(journal: SqlJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    watching = consumer(journal, clock)
    judge(journal, guesses(np.random.default_rng(3), 40, 0.6))
    watching.consume(_nothing(journal))
    judge(journal, guesses(np.random.default_rng(4), 40, 0.6), first=40)

    def broken(*_: object) -> None:
        raise RuntimeError("half way")

    with monkeypatch.context() as patch:
        patch.setattr("mlops.monitoring.quality_streams.WatchedMeasure.take", broken)
        with pytest.raises(RuntimeError):
            watching.consume(_nothing(journal))
    clock.now += 5
    assert watching.consume(_nothing(journal)).sent == 40
    document = journal.remembered("quality", ["readings"])
    assert document
    (judged,) = {part[2] for part in document["readings"] if "judged" in part[0]}
    assert judged > 0
