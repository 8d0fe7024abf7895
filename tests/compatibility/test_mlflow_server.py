"""The differential test against MLflow's own scoring server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.compatibility.comparing import Comparison, Running, running
from tests.compatibility.differences import unlisted, unseen
from tests.compatibility.payloads import Payload


@dataclass(frozen=True, slots=True)
class Compared:
    """Both servers, and what they answered."""

    both: Running
    comparisons: list[Comparison]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    with running(tmp_path_factory.mktemp("corpus")) as both:
        yield Compared(both, both.compare())


def test_only_listed_differences(compared: Compared) -> None:
    assert len(compared.comparisons) >= 1500
    shown = [
        f"{c.kind} {c.path}: {c.theirs} {c.ours}"[:300] for c in unlisted(compared.comparisons)
    ]
    assert not shown, "\n".join(shown)


def test_every_listed_difference_still_occurs(compared: Compared) -> None:
    assert [difference.reason for difference in unseen(compared.comparisons)] == []


def test_bad_input_is_never_our_fault(compared: Compared) -> None:
    assert [c.path for c in compared.comparisons if c.ours.status >= 500] == []


def test_a_refusal_says_why(compared: Compared) -> None:
    for comparison in compared.comparisons:
        if comparison.ours.status == 400:
            message = comparison.ours.value["message"]
            assert 10 < len(message) < 1000, comparison.path


def test_the_example_of_every_model_is_answered(compared: Compared) -> None:
    for number, case in enumerate(compared.both.cases):
        example = compared.both.examples[number]
        if case.name in _UNKNOWABLE:
            assert example is None
            continue
        answer = compared.both.ask(
            f"/ours/{number}/invocations", Payload("example", json.dumps(example).encode())
        )
        assert answer.status == 200, (case.name, example, answer)


def test_every_request_on_the_docs_page_is_answered(compared: Compared) -> None:
    for number, case in enumerate(compared.both.cases):
        for path, media, body in compared.both.documented(number):
            answer = compared.both.ask(f"/ours/{number}{path}", Payload("docs", body, media))
            assert answer.status == 200, (case.name, path, body, answer)


#: Models with neither a signature nor an example, nor anything that says how wide their rows are.
_UNKNOWABLE = frozenset({"unsigned"})
