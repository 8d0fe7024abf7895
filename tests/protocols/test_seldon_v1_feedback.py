"""Seldon v1 feedback."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.protocols.base import Kind, Outcome, ProtocolError
from mlops.protocols.seldon_v1_feedback import decode_feedback, encode_feedback
from tests.protocols.answers import REQUEST_ID, Json

RESPONSE = {"meta": {"puid": "mine", "requestPath": {"mlops_request_id": REQUEST_ID}}}


def outcomes(document: Json, **headers: str) -> list[Outcome]:
    return decode_feedback(
        orjson.dumps(document), {name.replace("_", "-"): value for name, value in headers.items()}
    )


def refusal(document: Json) -> str:
    with pytest.raises(ProtocolError) as caught:
        outcomes(document)
    assert caught.value.kind is Kind.MALFORMED
    return caught.value.message


def test_the_answers_meta_names_the_prediction() -> None:
    feedback = {
        "request": {"data": {"ndarray": [[1.0, 2.0, 5.0]]}},
        "response": {"data": {"ndarray": [1.5]}} | RESPONSE,
        "reward": 1,
    }

    assert outcomes(feedback) == [Outcome(REQUEST_ID, None, None, 1.0)]


@pytest.mark.parametrize(
    ("puid", "request_id", "client_id"),
    [
        (REQUEST_ID, REQUEST_ID, None),
        ("mine", None, "mine"),
        (REQUEST_ID[:-1], None, REQUEST_ID[:-1]),
    ],
)
def test_a_puid_is_the_router_s_or_the_client_s(
    puid: str, request_id: str | None, client_id: str | None
) -> None:
    expected = [Outcome(request_id, client_id, None, 0.5)]

    assert outcomes({"response": {"meta": {"puid": puid}}, "reward": 0.5}) == expected
    assert outcomes({"request": {"meta": {"puid": puid}}, "reward": 0.5}) == expected
    assert outcomes({"reward": 0.5}, seldon_puid=puid) == expected


@pytest.mark.parametrize(("reward", "value"), [(0, 0.0), (-2.5, -2.5), ("0.3", 0.3)])
def test_reads_rewards(reward: object, value: float) -> None:
    assert outcomes({"response": RESPONSE, "reward": reward})[0].reward == value


def test_a_reward_that_protobuf_left_out_is_zero() -> None:
    assert outcomes({"response": RESPONSE}) == [Outcome(REQUEST_ID, None, None, 0.0)]


@pytest.mark.parametrize(
    "truth",
    [
        {"data": {"ndarray": [[6]]}},
        {"data": {"ndarray": [6]}},
        {"data": {"names": ["quality"], "tensor": {"shape": [1, 1], "values": [6]}}},
        {"data": {"tensor": {"shape": [1], "values": [6]}}},
        {"jsonData": [6]},
        {"jsonData": 6},
        {"jsonData": [{"quality": 6}]},
        {"jsonData": {"quality": [6]}},
    ],
)
def test_truth_and_reward_of_one_row_are_one_outcome(truth: object) -> None:
    feedback = {"response": RESPONSE, "truth": truth}

    assert outcomes(feedback) == [Outcome(REQUEST_ID, None, 0, None, 6)]
    assert outcomes(feedback | {"reward": 1}) == [Outcome(REQUEST_ID, None, 0, 1.0, 6)]


def test_truth_may_be_a_string() -> None:
    feedback = {"response": RESPONSE, "truth": {"strData": "red"}}

    assert outcomes(feedback) == [Outcome(REQUEST_ID, None, 0, None, "red")]


def test_every_row_with_truth_is_an_outcome() -> None:
    truth = {"data": {"ndarray": [[5], [None], [7]]}}

    assert outcomes({"response": RESPONSE, "reward": 0.25, "truth": truth}) == [
        Outcome(REQUEST_ID, None, None, 0.25),
        Outcome(REQUEST_ID, None, 0, None, 5, of_rows=3),
        Outcome(REQUEST_ID, None, 2, None, 7, of_rows=3),
    ]


def test_nan_is_no_truth() -> None:
    truth = {"data": {"tensor": {"shape": [2], "values": ["NaN", 7]}}}

    assert outcomes({"response": RESPONSE, "truth": truth}) == [
        Outcome(REQUEST_ID, None, 1, None, 7, of_rows=2)
    ]


def test_a_row_may_have_several_outputs() -> None:
    by_place = {"data": {"names": ["t:0", "t:1"], "ndarray": [[1, 2]]}}
    by_name = {"jsonData": [{"a": 1, "b": 2}]}

    assert [each.truth for each in outcomes({"response": RESPONSE, "truth": by_place})] == [[1, 2]]
    (named,) = outcomes({"response": RESPONSE, "truth": by_name})
    assert (named.row, named.truth) == (0, {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("feedback", "reason"),
    [
        ({"reward": 1}, "does not say which prediction"),
        ({"response": {"meta": {}}, "reward": 1}, "does not say which prediction"),
        ({"response": RESPONSE, "reward": "NaN"}, "must be finite"),
        ({"response": RESPONSE, "reward": "inf"}, "must be finite"),
        ({"response": RESPONSE, "reward": "much"}, "must be a number, not 'much'"),
        ({"response": RESPONSE, "reward": True}, "must be a number, not a boolean"),
        ({"response": RESPONSE, "rewrad": 1}, "no key 'rewrad'"),
        ({"response": []}, "`response` must be an object"),
        ({"response": {"meta": 1}}, "`response.meta` must be an object"),
        (
            {"response": {"meta": {"requestPath": [1]}}},
            "`response.meta.requestPath` must be an object",
        ),
        ({"response": {"meta": {"requestPath": {"mlops_request_id": 7}}}}, "must be a string"),
        ({"response": RESPONSE, "truth": 6}, "`truth` must be an object"),
        ({"response": RESPONSE, "truth": {"strData": "x", "jsonData": 1}}, "exactly one of"),
        (
            {"response": RESPONSE, "truth": {"data": {"ndarray": [[1, None]]}}},
            "Row 0 of `truth` has no value for one",
        ),
        ({"response": RESPONSE, "truth": {"data": {"ndarray": [[[1]]]}}}, "truth of row 0"),
        ({"response": RESPONSE, "truth": {"data": {"ndarray": [None]}}}, "holds no value"),
        (
            {"response": RESPONSE, "truth": {"jsonData": [{"a": 1, "b": 2}, {"a": 1, "c": 2}]}},
            "unequal outputs",
        ),
        (
            {
                "response": RESPONSE,
                "truth": {"data": {"tensor": {"shape": [1], "values": ["inf"]}}},
            },
            "truth of row 0",
        ),
    ],
)
def test_says_what_is_wrong(feedback: object, reason: str) -> None:
    assert reason in refusal(feedback)


WORDS = st.sampled_from(
    [
        "request",
        "response",
        "reward",
        "truth",
        "meta",
        "puid",
        "requestPath",
        "mlops_request_id",
        "data",
        "ndarray",
        "tensor",
        "shape",
        "values",
        "names",
        "jsonData",
        "strData",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
)


@given(st.binary() | VALUES.map(orjson.dumps), st.sampled_from([{}, {"seldon-puid": "mine"}]))
def test_any_body_gives_outcomes_or_a_protocol_error(body: bytes, headers: dict[str, str]) -> None:
    try:
        read = decode_feedback(body, headers)
    except ProtocolError:
        return

    assert all(outcome.request_id or outcome.client_id for outcome in read)
    assert all(outcome.reward is not None or outcome.truth is not None for outcome in read)
    assert read


def test_answers_as_the_wrapper_with_counts_as_tags() -> None:
    encoded = encode_feedback({"accepted": 1, "duplicate": 0})

    assert encoded.status == 200
    assert orjson.loads(encoded.body) == {
        "data": {"ndarray": []},
        "meta": {"tags": {"accepted": 1, "duplicate": 0}},
    }
