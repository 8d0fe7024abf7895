"""Feedback through HTTP: every fate, every form, every door."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from mlops.spec.request_id import mint
from tests.serving.models import ROWS, records
from tests.serving.server import Json, Reply, Server, make_launch, observations, served

_NUMBERS = count()
FORGED = mint(b"x" * 32, nonce=b"n" * 12, time_ms=1, revision=1, arm=0, propensity=0.5)


def predict(server: Server, rows: int = 1, **headers: str) -> Reply:
    reply = server.predict(records(ROWS[:rows]), **headers)
    assert reply.status == 200
    return reply


def test_a_reward_is_credited_to_its_arm(server: Server) -> None:
    for _ in range(6):
        reply = predict(server)
        answer = server.post("/feedback", {"request_id": reply.request_id, "reward": 0.25})
        assert answer.status == 200
        assert answer.json == {
            "counts": {"accepted": 1},
            "outcome": {
                "status": "accepted",
                "fate": "accepted",
                "arm": reply.arm,
                "revision": 1,
                "late": False,
            },
        }
        (seen,) = observations(server, reply)
        assert ("ab"[seen.arm], seen.revision, seen.row) == (reply.arm, 1, 0)
        assert (seen.reward, seen.truth) == (0.25, None)
        assert seen.propensity == pytest.approx(0.5)
        assert seen.prediction == pytest.approx(reply.json["predictions"][0])


def test_truths_by_row_meet_their_predictions(server: Server) -> None:
    reply = predict(server, rows=3)
    body = {"request_id": reply.request_id, "truth": [5, 6.5, "red"]}
    reason = "prediction is a number, truth is text that is no number"
    assert server.post("/feedback", body).json == {
        "counts": {"accepted": 3},
        "warnings": [f"no reward can be derived: {reason}"],
    }
    seen = observations(server, reply)
    assert [(o.row, o.truth) for o in seen] == [(0, 5), (1, 6.5), (2, "red")]
    assert [o.prediction for o in seen] == pytest.approx(reply.json["predictions"])


def test_a_row_alone(server: Server) -> None:
    reply = predict(server, rows=3)
    body = {"request_id": reply.request_id, "row": 2, "truth": 4, "reward": -1}
    assert server.post("/feedback", body).json["counts"] == {"accepted": 1}
    (seen,) = observations(server, reply)
    assert (seen.row, seen.truth, seen.reward) == (2, 4, -1)
    assert seen.prediction == pytest.approx(reply.json["predictions"][2])


def test_an_unknown_truth_in_a_list_may_come_later(server: Server) -> None:
    reply = predict(server, rows=3)
    body = {"request_id": reply.request_id, "truth": [5, None, 6]}
    assert server.post("/feedback", body).json == {"counts": {"accepted": 2}}
    later = {"request_id": reply.request_id, "row": 1, "truth": 7}
    assert server.post("/feedback", later).json["counts"] == {"accepted": 1}
    assert [(o.row, o.truth) for o in observations(server, reply)] == [(0, 5), (2, 6), (1, 7)]


def test_the_first_feedback_stands(server: Server) -> None:
    reply = predict(server)
    first, again, other = (
        server.post("/feedback", {"request_id": reply.request_id, "reward": reward})
        for reward in (1.0, 1.0, 0.0)
    )
    assert first.json["counts"] == {"accepted": 1}
    assert (again.status, again.json["counts"]) == (200, {"duplicate": 1})
    assert again.json["outcome"]["arm"] == reply.arm
    assert (other.status, other.json["counts"]) == (409, {"conflict": 1})
    assert "another outcome" in other.json["problems"][0]["error"]
    (seen,) = observations(server, reply)
    assert seen.reward == 1.0


def test_a_forged_id_is_refused(server: Server) -> None:
    for forged in (FORGED, "nonsense", "ü" * 48, "é" * 24, "="):
        answer = server.post("/feedback", {"request_id": forged, "reward": 1})
        assert answer.status == 400
        assert answer.json["counts"] == {"forged": 1}
        assert "not made by this deployment" in answer.json["problems"][0]["error"]


def test_a_client_id_is_enough_where_it_is_unique(server: Server) -> None:
    client_id = f"mine-{next(_NUMBERS)}"
    reply = predict(server, x_request_id=client_id)
    server.journal().close()
    answer = server.post("/feedback", {"client_id": client_id, "reward": 2})
    assert answer.json["outcome"] == {
        "status": "accepted",
        "fate": "accepted",
        "arm": reply.arm,
        "revision": 1,
        "late": False,
    }
    again = server.post("/feedback", {"request_id": reply.request_id, "reward": 3})
    assert again.json["counts"] == {"conflict": 1}


def test_a_client_id_that_names_several_is_refused(server: Server) -> None:
    client_id = f"shared-{next(_NUMBERS)}"
    for _ in range(2):
        predict(server, x_request_id=client_id)
    server.journal().close()
    answer = server.post("/feedback", {"client_id": client_id, "reward": 2})
    assert answer.status == 409
    assert answer.json["counts"] == {"ambiguous": 1}


@pytest.mark.parametrize("client_id", ["never seen", "x" * 10_000, "nul\0"])
def test_a_client_id_that_was_never_sent_is_unknown(server: Server, client_id: str) -> None:
    answer = server.post("/feedback", {"client_id": client_id, "reward": 2})
    assert answer.status == 404
    assert answer.json["counts"] == {"unknown": 1}


def test_a_row_that_is_not_there_is_refused(server: Server) -> None:
    reply = predict(server, rows=2)
    server.journal().close()
    answer = server.post("/feedback", {"request_id": reply.request_id, "row": 2, "reward": 1})
    assert answer.status == 422
    assert answer.json["counts"] == {"no_such_row": 1}
    assert observations(server, reply) == []


def test_bulk_answers_for_each(server: Server) -> None:
    replies = [predict(server) for _ in range(3)]
    outcomes: list[Json] = [
        {"request_id": r.request_id, "reward": i} for i, r in enumerate(replies)
    ]
    outcomes.insert(1, {"request_id": FORGED, "reward": 1})
    outcomes.append({"request_id": replies[0].request_id, "reward": 9})
    answer = server.post("/feedback", {"outcomes": outcomes})
    assert answer.status == 200
    assert answer.json["counts"] == {"accepted": 3, "forged": 1, "conflict": 1}
    assert [problem["index"] for problem in answer.json["problems"]] == [1, 4]
    assert [observations(server, reply)[0].reward for reply in replies] == [0, 1, 2]


def test_ndjson_answers_for_each(server: Server) -> None:
    replies = [predict(server) for _ in range(3)]
    lines = [json.dumps({"request_id": r.request_id, "truth": "red"}) for r in replies]
    body = ("\n".join(lines) + "\n\n").encode()
    answer = server.call("POST", "/feedback", body, {"content-type": "application/x-ndjson"})
    assert answer.json["counts"] == {"accepted": 3}
    # The same for all of them, said once.
    assert len(answer.json["warnings"]) == 1


def test_a_bad_line_spoils_the_whole_body(server: Server) -> None:
    reply = predict(server)
    good = json.dumps({"request_id": reply.request_id, "reward": 1})
    body = f"{good}\nnonsense\n".encode()
    answer = server.call("POST", "/feedback", body, {"content-type": "application/x-ndjson"})
    assert answer.status == 400
    assert "line 2" in answer.json["error"]
    assert observations(server, reply) == []


RID = "x" * 48


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b'{"outcomes": []}',
        b'{"outcomes": 7}',
        b'{"outcomes": [[]]}',
        b'{"reward": NaN}',
        {"reward": 1},
        {"request_id": "", "reward": 1},
        {"request_id": 7, "reward": 1},
        {"request_id": RID},
        {"request_id": RID, "reward": None},
        {"request_id": RID, "reward": "1"},
        {"request_id": RID, "reward": True},
        {"request_id": RID, "reward": []},
        {"request_id": RID, "reward": [1], "truth": [1, 2]},
        {"request_id": RID, "reward": [1], "row": 0},
        {"request_id": RID, "truth": [None, None]},
        {"request_id": RID, "truth": {"a": 1}},
        {"request_id": RID, "truth": [[1]]},
        {"request_id": RID, "truth": "x" * 10_001},
        {"request_id": RID, "row": -1, "reward": 1},
        {"request_id": RID, "row": 0.5, "reward": 1},
        {"request_id": RID, "row": True, "reward": 1},
        {"request_id": RID, "row": 10**9, "reward": 1},
        {"request_id": RID, "reward": 1, "arm": "b"},
    ],
)
def test_nonsense_is_refused(server: Server, body: Json) -> None:
    answer = server.post("/feedback", body)
    assert answer.status == 400
    assert set(answer.json) == {"error"}


def test_a_list_is_told_how_to_be_sent(server: Server) -> None:
    answer = server.post("/feedback", [{"request_id": RID, "reward": 1}])
    assert answer.status == 400
    assert "`outcomes`" in answer.json["error"]
    assert "`application/x-ndjson`" in answer.json["error"]


def test_too_many_at_once(server: Server) -> None:
    answer = server.post("/feedback", {"request_id": RID, "reward": [1] * 10_001})
    assert answer.status == 413
    server.hang_up()


def test_no_number_is_too_large(server: Server) -> None:
    """What statistics cannot take is refused, and does not stop those that come after."""
    reply = predict(server)
    for absurd in ({"truth": 1e200}, {"truth": 10**61}, {"reward": -1.7e308}):
        answer = server.post("/feedback", {"request_id": reply.request_id, **absurd})
        assert (answer.status, answer.json["counts"]) == (422, {"out_of_range": 1})
        assert "larger than 1e+60 in size" in answer.json["problems"][0]["error"]
    body = {"request_id": reply.request_id, "truth": 1e60}
    assert server.post("/feedback", body).json["counts"] == {"accepted": 1}
    after = predict(server)
    body = {"request_id": after.request_id, "truth": 5}
    assert server.post("/feedback", body).json["counts"] == {"accepted": 1}
    assert all(value < float("inf") for value in server.metrics().values())


# Seldon's own feedback.


def seldon_predict(server: Server, rows: int = 1) -> Reply:
    reply = server.post("/api/v1.0/predictions", {"data": {"ndarray": ROWS[:rows]}})
    assert reply.status == 200
    return reply


@pytest.mark.parametrize("prefix", ["", "/seldon/prod/wine"])
def test_seldon_feedback_sends_the_answer_back(server: Server, prefix: str) -> None:
    reply = seldon_predict(server)
    body = {"response": reply.json, "reward": 0.0, "truth": {"data": {"ndarray": [5]}}}
    answer = server.post(f"{prefix}/api/v1.0/feedback", body)
    assert answer.status == 200
    assert answer.json == {"data": {"ndarray": []}, "meta": {"tags": {"accepted": 1}}}
    (seen,) = observations(server, reply)
    assert ("ab"[seen.arm], seen.reward, seen.truth, seen.row) == (reply.arm, 0.0, 5, 0)


def test_seldon_feedback_by_puid(server: Server) -> None:
    reply = seldon_predict(server)
    body = {"response": {"meta": {"puid": reply.json["meta"]["puid"]}}, "reward": 1}
    assert server.post("/api/v1.0/feedback", body).json["meta"]["tags"] == {"accepted": 1}
    by_header = server.post(
        "/api/v1.0/feedback", {"reward": 1}, seldon_puid=reply.headers["seldon-puid"]
    )
    assert by_header.json["meta"]["tags"] == {"duplicate": 1}


def test_seldon_feedback_of_many_rows(server: Server) -> None:
    reply = seldon_predict(server, rows=3)
    body = {"response": reply.json, "reward": 1, "truth": {"data": {"ndarray": [5, 6, 7]}}}
    answer = server.post("/api/v1.0/feedback", body)
    assert answer.json["meta"]["tags"] == {"accepted": 4}


def test_seldon_feedback_that_is_forged(server: Server) -> None:
    body = {"response": {"meta": {"puid": FORGED}}, "reward": 1}
    answer = server.post("/api/v1.0/feedback", body)
    assert answer.status == 400
    assert answer.json["status"]["status"] == "FAILURE"
    assert answer.json["meta"]["tags"] == {"forged": 1}


def test_seldon_feedback_that_is_not_stored(server: Server) -> None:
    body = {"response": {"meta": {"puid": "nobody's"}}, "reward": 1}
    unknown = server.post("/api/v1.0/feedback", body)
    assert (unknown.status, unknown.json["meta"]["tags"]) == (404, {"unknown": 1})
    assert unknown.json["status"]["info"] == "no request has this client id"
    # Seldon's executor fails a whole graph where a node of it answers otherwise.
    assert server.post("/send-feedback", body).status == 200
    answer = seldon_predict(server).json
    first = server.post("/api/v1.0/feedback", {"response": answer, "reward": 1})
    assert first.status == 200
    other = server.post("/api/v1.0/feedback", {"response": answer, "reward": 0})
    assert (other.status, other.json["meta"]["tags"]) == (409, {"conflict": 1})


def test_seldon_nonsense_is_refused_in_seldons_words(server: Server) -> None:
    for body in ({}, {"reward": 1}, {"reward": "x"}, b"[", {"surprise": 1}):
        answer = server.post("/api/v1.0/feedback", body)
        assert answer.status == 400
        assert answer.json["status"]["reason"] == "MICROSERVICE_BAD_DATA"


def test_a_reward_outside_its_declared_range_is_refused_and_nothing_else(
    models: dict[str, Path], tmp_path: Path, start: Callable[..., Server]
) -> None:
    launch = make_launch(tmp_path, served(models, reward="absolute-error", reward_range=(-5, 0)))
    server = start(launch)
    replies = [predict(server, x_request_id=f"order {number}") for number in range(4)]
    ids = [reply.request_id for reply in replies]
    alone = server.post("/feedback", {"request_id": ids[0], "reward": -6, "truth": 3})
    assert alone.status == 422
    assert alone.json == {
        "counts": {"out_of_range": 1},
        "problems": [
            {
                "index": 0,
                "status": "out_of_range",
                "fate": "out_of_range",
                "error": "the reward -6 is outside the declared range, -5 to 0",
            }
        ],
    }
    outcomes = [
        {"request_id": ids[0], "reward": -5},
        {"request_id": ids[1], "reward": 0.001},
        {"client_id": "order 2", "reward": 7},
        {"client_id": "order 2", "reward": -1},
        # A truth is a fact; the reward derived from it counts as the end of the range.
        {"request_id": ids[3], "truth": 1_000},
    ]
    answer = server.post("/feedback", {"outcomes": outcomes})
    assert answer.status == 200
    assert answer.json["counts"] == {"accepted": 3, "out_of_range": 2}
    assert [problem["index"] for problem in answer.json["problems"]] == [1, 2]
    assert [o.reward for reply in replies for o in observations(server, reply)] == [-5, -1, None]
    samples = server.metrics()
    taken = [v for (name, _), v in samples.items() if name == "mlops_reward_negative_total"]
    assert sum(taken) == pytest.approx(11), sorted({name for name, _ in samples})
    body = {"response": {"meta": {"puid": ids[1]}}, "reward": 1}
    assert server.post("/api/v1.0/feedback", body).json["meta"]["tags"] == {"out_of_range": 1}


def test_right_or_wrong_has_a_range_of_its_own(
    models: dict[str, Path], tmp_path: Path, start: Callable[..., Server]
) -> None:
    server = start(make_launch(tmp_path, served(models, reward="exact")))
    body = {"request_id": predict(server).request_id, "reward": 2}
    assert server.post("/feedback", body).status == 422
    assert server.post("/feedback", {**body, "reward": 1}).status == 200


def test_late_feedback_goes_to_the_revision_that_served(
    models: dict[str, Path], tmp_path: Path, start: Callable[..., Server]
) -> None:
    """The reward, too, is that of the revision that served."""
    first = served(models, reward="absolute-error")
    server = start(make_launch(tmp_path, first))
    early = predict(server)
    reversed_models = dict(reversed(models.items()))
    second = served(reversed_models, number=2, reward="squared-error")
    assert server.swap(second).status == 200
    assert predict(server).headers["x-mlops-revision"] == "2"
    body = {"request_id": early.request_id, "truth": early.json["predictions"][0] + 3}
    answer = server.post("/feedback", body)
    assert answer.json == {
        "counts": {"accepted": 1, "late": 1},
        "outcome": {
            "status": "accepted",
            "fate": "accepted",
            "arm": early.arm,
            "revision": 1,
            "late": True,
        },
    }
    metrics = server.metrics()
    labels = (("arm", early.arm), ("version", f"{early.arm}/1"))
    assert metrics["mlops_reward_negative_total", labels] == pytest.approx(3)
    assert metrics["mlops_rewards_total", labels] == 1
    assert metrics["mlops_feedback_total", (("outcome", "late"),)] == 1
    # After a restart the first revision is known from the journal alone.
    launch = replace(server.launch, served=second)
    server.stop()
    server = start(replace(launch, port=0))
    again = server.post("/feedback", {**body, "row": 0})
    assert again.json["outcome"]["arm"] == early.arm
    assert again.json["outcome"]["late"]
