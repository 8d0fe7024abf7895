"""Files that are rendered without the ledger, and the number of their revision in the journal."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.kubernetes import config
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import gather
from mlops.serving.revision_number import agree
from mlops.spec.deployment import Arm, DeploymentSpec, Revision, to_dict
from mlops.spec.model import ModelVersion
from tests.postgresql import PostgreSQL
from tests.serving.models import COLUMNS, ROWS
from tests.serving.pods import Pod, new_pod, post

_ROW = {"dataframe_split": {"columns": list(COLUMNS), "data": ROWS[:1]}}


def _spec(share: float, *, name: str = "wine", models: str = "ab") -> DeploymentSpec:
    first, second = (
        ModelVersion(each, f"{each}/1", f"s3://bucket/{each}", each, 1) for each in models
    )
    return DeploymentSpec(name, (Arm("a", first, 1 - share), Arm("b", second, share)))


class _Journal:
    """A journal, and what servers record in it."""

    def __init__(self, url: str) -> None:
        self.url, self.time_ms = url, 0
        self.journal = SqlJournal(url)

    def start(
        self, spec: DeploymentSpec, number: int = 1, server: str = "", *, in_ledger: bool = False
    ) -> int:
        agreed = agree(self.journal, Revision(number, spec), 0, in_ledger=in_ledger)
        self._record(agreed, "started", {**to_dict(spec), "server": server or f"pod-{spec.arms}"})
        return agreed

    def stop(self, number: int, spec: DeploymentSpec, server: str = "") -> None:
        self._record(number, "stopped", {"server": server or f"pod-{spec.arms}"})

    def _record(self, number: int, event: str, document: dict[str, object]) -> None:
        self.time_ms += 1
        self.journal.record([RevisionEvent(number, self.time_ms, event, document)])


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[_Journal]:
    made = _Journal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield made
    made.journal.close()


def test_other_content_gets_the_next_number_and_equal_content_the_same(journal: _Journal) -> None:
    old, new = _spec(0.1), _spec(0.2)
    assert journal.start(old) == 1
    assert journal.start(old, server="replica") == 1
    assert journal.start(new) == 2
    assert journal.start(new, server="another") == 2
    assert journal.start(_spec(0.1, models="ba")) == 3


def test_a_pod_of_the_revision_before_keeps_its_number_during_a_rolling_update(
    journal: _Journal,
) -> None:
    old, new = _spec(0.1), _spec(0.2)
    for server in ("old-1", "old-2"):
        assert journal.start(old, server=server) == 1
    assert journal.start(new) == 2
    journal.stop(1, old, "old-1")
    assert journal.start(old, server="old-3") == 1
    assert journal.start(new) == 2


def test_servers_that_are_about_to_start_agree(journal: _Journal) -> None:
    journal.start(_spec(0.1))
    later = [Revision(1, _spec(share)) for share in (0.2, 0.3)]
    for _ in range(2):
        assert [agree(journal.journal, each, 0, in_ledger=False) for each in later] == [2, 3]


def test_what_comes_back_is_a_new_revision(journal: _Journal) -> None:
    old, new = _spec(0.1), _spec(0.2)
    journal.start(old)
    journal.stop(1, old)
    assert journal.start(new) == 2
    assert journal.start(old, server="back-1") == 3
    assert journal.start(old, server="back-2") == 3


def test_how_a_model_was_written_makes_no_revision(journal: _Journal) -> None:
    spec = _spec(0.1)
    journal.start(spec)
    first = spec.arms[0]
    model = replace(first.model, ref="a@champion", chosen_by="alias champion", digest="listing:1")
    again = replace(spec, arms=(replace(first, model=model), spec.arms[1]))
    assert journal.start(again) == 1


def test_the_number_of_the_ledger_is_kept_also_where_its_content_is_an_earlier_one(
    journal: _Journal,
) -> None:
    old, new = _spec(0.1), _spec(0.2)
    for number, spec in enumerate((old, new, old), start=1):
        assert journal.start(spec, number, in_ledger=True) == number
        journal.stop(number, spec)
    assert journal.start(new, 2, in_ledger=True) == 2
    # Of a ledger that has begun again.
    assert journal.start(_spec(0.3), 1, in_ledger=True) == 4


def test_replicas_that_start_at_once_agree(database: PostgreSQL) -> None:
    name = "agreed"
    old, new, other = (_spec(share, name=name) for share in (0.1, 0.2, 0.3))
    journals = [_Journal(database.url) for _ in range(8)]
    try:
        journals[0].start(old)
        specs = [new, other] * 4
        with ThreadPoolExecutor(len(journals)) as pool:
            numbers = list(
                pool.map(
                    lambda each: agree(each[0].journal, Revision(1, each[1]), 0, in_ledger=False),
                    zip(journals, specs, strict=True),
                )
            )
    finally:
        for each in journals:
            each.journal.close()
    assert len({*numbers[::2]}) == len({*numbers[1::2]}) == 1
    assert {*numbers} == {2, 3}


@contextmanager
def _serving(pod: Pod, document: object, port: int) -> Iterator[None]:
    path = pod.folder / "config/revision.json"
    path.write_text(json.dumps(document))
    with pod.running(port, "serve", *pod.places(port)) as process:
        yield
        process.terminate()
        assert process.wait(60) == 0


def test_pods_of_two_renderings_do_not_mix_their_evidence(
    models: dict[str, Path], free_port: int
) -> None:
    arms = [
        Arm(name, ModelVersion(name, f"wine/{version}", f"file://{path}"), 0.5)
        for version, (name, path) in enumerate(models.items(), start=1)
    ]
    even = DeploymentSpec("wine", tuple(arms), reward="given")
    skew = replace(even, arms=(replace(arms[0], weight=0.9), replace(arms[1], weight=0.1)))
    options = RenderOptions(in_ledger=False)
    numbers = []
    with new_pod(config(even, options), confined=False) as pod:
        subprocess.run(
            pod.command("fetch", *pod.places(free_port)), env=pod.environment, cwd="/", check=True
        )
        for spec in (even, skew):
            with _serving(pod, config(spec, options), free_port):
                answers = [post(free_port, "/invocations", _ROW)[1] for _ in range(20)]
            numbers.append({each["x-mlops-revision"] for each in answers})
        journal = SqlJournal(f"sqlite:///{pod.folder / 'journal/journal.db'}")
        evidence = gather(journal)
        journal.close()
    assert numbers == [{"1"}, {"2"}]
    assert evidence.weights.tolist() == [[0.5, 0.5], [0.9, 0.1]]
    sums = dict.fromkeys(evidence.revisions, 0)
    for each in evidence.traffic:
        sums[each.revision] += each.drawn
    assert sums == {1: 20, 2: 20}
