"""Feedback to Seldon Core v1: real model servers of Seldon's, see `tests/seldon_graph.py`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.client.connection import Connection
from mlops.client.replay import play
from mlops.client.replay_data import ReplayRows, row_order
from mlops.client.saved_responses import read_saved, send_saved, truths
from mlops.client.seldon import Outcome, SeldonClient, SeldonEndpoint, Terms
from mlops.client.seldon_answer import answered_by, chosen, predictions
from mlops.errors import ConflictError, InvalidInputError, RemoteError
from mlops.rewards.own import load_reward
from tests.gateway import open_gateway
from tests.seldon_graph import (
    ExecutorStandIn,
    ModelServer,
    model_servers,
    open_executor,
)

_PREFIX = "/seldon/shops/wine"
_REQUEST = {"data": {"names": ["x"], "ndarray": [[1.0]]}}


@pytest.fixture(scope="module")
def models() -> Iterator[list[ModelServer]]:
    """Two model servers; one answers 5, the other 7."""
    with model_servers((5.0, 7.0)) as started:
        yield started


@pytest.fixture
def executor(models: list[ModelServer]) -> Iterator[ExecutorStandIn]:
    with open_executor(models) as opened:
        yield opened


@pytest.fixture
def connection(executor: ExecutorStandIn) -> Iterator[Connection]:
    """A connection through the gateway's prefix."""
    with (
        open_gateway({_PREFIX: executor.url}) as gateway,
        Connection(f"{gateway.url}{_PREFIX}", here=False) as opened,
    ):
        yield opened


def client(connection: Connection, said: list[str] | None = None, **terms: Any) -> SeldonClient:
    name = terms.pop("reward", "squared-error")
    kept = [] if said is None else said
    return SeldonClient(connection, Terms((load_reward(name), name), **terms), kept.append)


def told(models: list[ModelServer]) -> list[int]:
    return [len(model.told()) for model in models]


def test_the_model_that_answered_is_told_its_reward_and_the_truth(
    models: list[ModelServer], connection: Connection
) -> None:
    before = [model.told() for model in models]
    table = ReplayRows(("x",), ((1.0,), (2.0,)), (5.5, 6.0))
    tally = play(SeldonEndpoint(client(connection)), table, row_order(table, 0, 0))
    assert tally.counts == {"sent": 2}
    # 5 was said where 5.5 is true, and 7 where 6 is.
    for model, earlier, reward in zip(models, before, ("-0.25 [5.5]", "-1.0 [6.0]"), strict=True):
        assert model.told()[len(earlier) :] == [reward]


def test_an_answer_is_kept_and_its_worth_told_later(
    models: list[ModelServer], executor: ExecutorStandIn, connection: Connection, tmp_path: Path
) -> None:
    executor.asked = 1
    seldon = client(connection)
    answer = seldon.ask({"data": {"ndarray": [[1.0], [2.0]]}})
    assert (chosen(answer), answered_by(answer)) == ({"ab": 1}, "model-1")
    file = tmp_path / "answer.json"
    before = models[1].told()
    # As curl gives it, and with what was asked.
    for document in (answer, {"response": answer, "request": _REQUEST}):
        file.write_text(json.dumps(document))
        kept = read_saved(str(file))
        seldon.tell(Outcome(kept.response, kept.request, (8.0, 10.0)))
    # The mean of -1 and -9, for there is one reward for all rows.
    assert models[1].told()[len(before) :] == ["-5.0 [8.0, 10.0]"] * 2
    with pytest.raises(InvalidInputError, match="1 truths for 2 rows"):
        seldon.tell(Outcome(answer, None, (8.0,)))


def test_a_stream_of_kept_answers(
    models: list[ModelServer], executor: ExecutorStandIn, connection: Connection
) -> None:
    seldon = client(connection)
    answers = [seldon.ask(_REQUEST) for _ in range(4)]
    before = told(models)
    lines = [
        json.dumps({"response": answers[0], "reward": 0.5}),
        "",
        json.dumps({"response": answers[1], "truth": 6}),
        json.dumps({"response": answers[2], "truth": {"data": {"ndarray": [[5.5]]}}}),
    ]
    counted: list[int] = []
    sent = send_saved(seldon, [x.encode() for x in lines], lambda c: counted.append(c["sent"]))
    assert (sent.counts, counted[-1]) == (Counter(sent=3), 3)
    assert [now - then for now, then in zip(told(models), before, strict=True)] == [2, 1]
    for bad, says in (
        ("nonsense", "it is not JSON"),
        ("[1]", "holds no JSON object"),
        ('{"request_id": "x", "reward": 1}', "A request id is not enough"),
        (json.dumps({"response": answers[3]}), "neither a reward nor a truth"),
        (json.dumps({"response": answers[3], "rewrad": 1}), "`rewrad`"),
        (json.dumps({"response": answers[3], "reward": "1"}), "not a number"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            send_saved(seldon, [lines[0].encode(), bad.encode()], lambda _: None)
        assert caught.value.message.startswith("Line 2: ")
        assert says in caught.value.message
        # Seldon forgets nothing and remembers nothing: what was sent counts again.
        assert "continue from line 2" in (caught.value.hint or "")


def test_who_interrupts_a_stream_is_told_where_it_was() -> None:
    class Interrupted(SeldonClient):
        """A person presses Ctrl-C while the third outcome is sent."""

        def tell(self, outcome: Outcome) -> None:
            if outcome.reward == 3:
                raise KeyboardInterrupt

    said: list[str] = []
    terms = Terms((load_reward("exact"), "exact"))
    seldon = Interrupted(Connection("http://127.0.0.1:9"), terms, said.append)
    lines = [json.dumps({"response": {"meta": {}}, "reward": n}).encode() for n in (1, 2, 3)]
    with pytest.raises(KeyboardInterrupt):
        send_saved(seldon, lines, lambda _: None)
    (told,) = said
    assert told.startswith(
        "2 sent before count, and would count twice: continue from line 3, which "
    )


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ({"meta": "x"}, "`meta`"),
        ({"meta": {"routing": [1]}}, "`meta.routing`"),
        ({"meta": {"tags": "x"}}, "`meta.tags`"),
        ({"data": {"tensor": 3}}, "`data.tensor`"),
    ],
)
def test_what_only_looks_like_an_answer(response: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{says} is not an object"):
        read_saved("answer.json", json.dumps({"response": response}))
    with pytest.raises(InvalidInputError, match="is not an object"):
        truths({"data": {"tensor": 3}})


def test_without_injected_routing_no_model_can_be_credited(
    models: list[ModelServer], executor: ExecutorStandIn, connection: Connection
) -> None:
    executor.inject = False
    seldon, before = client(connection), told(models)
    answer = seldon.ask(_REQUEST)
    with pytest.raises(ConflictError) as caught:
        seldon.tell(Outcome(answer, _REQUEST, (6.0,)))
    assert "every model" in caught.value.message
    assert "SELDON_ENABLE_ROUTING_INJECTION" in (caught.value.hint or "")
    assert told(models) == before
    # `one_model` overrides the check: both are credited.
    client(connection, one_model=True).tell(Outcome(answer, _REQUEST, (6.0,)))
    assert told(models) == [count + 1 for count in before]


def test_a_model_alone_needs_no_router(
    models: list[ModelServer], executor: ExecutorStandIn, connection: Connection
) -> None:
    executor.router = False
    before = told(models)
    answer = client(connection).ask(_REQUEST)
    with pytest.raises(ConflictError) as caught:
        client(connection).tell(Outcome(answer, _REQUEST, (6.0,)))
    assert "No router chose `model-0`" in caught.value.message
    assert "--one-model" in (caught.value.hint or "")
    client(connection, one_model=True).tell(Outcome(answer, _REQUEST, (6.0,)))
    assert told(models) == [before[0] + 1, before[1]]


def test_predictors_among_which_the_gateway_draws_are_refused(
    models: list[ModelServer], executor: ExecutorStandIn
) -> None:
    """Two predictors, no router: as the gateway would mix them."""
    executor.router = False
    with open_executor(models[::-1]) as other:
        other.router = False
        with (
            open_gateway({_PREFIX: executor.url}) as gateway,
            Connection(f"{gateway.url}{_PREFIX}", here=False) as connection,
        ):
            seldon = client(connection, one_model=True)
            first = seldon.ask(_REQUEST)
            seldon.tell(Outcome(first, _REQUEST, (6.0,)))
            gateway.routes[_PREFIX] = other.url
            second = seldon.ask(_REQUEST)
            # The second executor calls its only child by another name.
            second["meta"]["routing"] = {"model-1": -1}
            before = told(models)
            with pytest.raises(ConflictError) as caught:
                seldon.tell(Outcome(second, _REQUEST, (6.0,)))
    assert "`model-0` and `model-1` answer here" in caught.value.message
    assert "--traffic-by graph" in (caught.value.hint or "")
    assert told(models) == before


def test_what_seldons_counters_cannot_hold_is_told_once(
    models: list[ModelServer], executor: ExecutorStandIn, connection: Connection
) -> None:
    """The warnings tell the truth about Seldon's own counters."""
    model = models[0]
    said: list[str] = []
    seldon = client(connection, said)
    executor.asked = 0
    answer = seldon.ask(_REQUEST)

    def rewarded(value: float, by: SeldonClient = seldon) -> tuple[float, float]:
        names = ("feedback", "feedback_reward")
        before = [model.counter(name) for name in names]
        by.tell(Outcome(answer, reward=value))
        now = [model.counter(name) for name in names]
        return now[0] - before[0], now[1] - before[1]

    assert rewarded(1.0) == (1.0, 1.0)
    assert said == []
    # A counter that falls, twice.
    assert rewarded(-4.0) == (1.0, -4.0)
    assert rewarded(-4.0) == (1.0, -4.0)
    assert [text.split(" is ")[0] for text in said] == ["the reward -4"]
    assert "1 / (1 + error)" in said[0]
    # Feedback that is not counted at all.
    assert rewarded(0.0) == (0.0, 0.0)
    assert len(said) == 2
    assert "do not count feedback whose reward is 0" in said[1]
    shifted = client(connection, said, shift=36.0)
    assert rewarded(-4.0, shifted) == (1.0, 32.0)
    assert len(said) == 2


def test_seldons_failures(executor: ExecutorStandIn) -> None:
    with open_gateway({}) as gateway, Connection(gateway.url, here=False) as connection:
        for answer, says in (
            ({"status": {"status": "FAILURE", "info": "no such shape"}}, "no such shape"),
            ({"status": {"status": 1, "info": "no such shape"}}, "no such shape"),
            ([1], "does not speak Seldon v1"),
        ):
            gateway.says = (200, {}, json.dumps(answer).encode())
            with pytest.raises(RemoteError, match=says):
                client(connection).ask(_REQUEST)
    with pytest.raises(RemoteError, match="no prediction"):
        predictions({"meta": {}})


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (None, ()),
        (6, (6,)),
        ("red", ("red",)),
        ([5, 6], (5, 6)),
        ([[5], [6]], (5, 6)),
        ({"data": {"ndarray": [[5.0]]}}, (5.0,)),
        ({"data": {"tensor": {"shape": [2], "values": [5.0, 6.0]}}}, (5.0, 6.0)),
        ({"jsonData": [5]}, (5,)),
    ],
)
def test_truths_in_every_form(value: object, rows: tuple[object, ...]) -> None:
    assert truths(value) == rows
