"""The OpenAPI document says what the server does."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from openapi_spec_validator import validate

from mlops.protocols.base import Kind
from mlops.serving.routes import POST_PATHS, find_route
from mlops.spec.request_id import ForgedRequestIdError, read
from mlops.tables.signature import Signature

if TYPE_CHECKING:
    pass
from tests.serving.documented_server import (
    COLUMNS,
    KEY,
    NAMED,
    ROWS,
    SIGNATURES,
    TOKEN,
    House,
    Json,
    bodies,
    build,
    check,
    encoded,
    filled,
    follow,
    operations,
)

# The document


@pytest.mark.parametrize(("signature", "split"), SIGNATURES)
@pytest.mark.parametrize("secured", [False, True])
def test_the_document_is_valid_whatever_the_models_are(
    signature: Signature, split: Json, secured: bool
) -> None:
    document = build(signature, split, secured=secured, sticky="header:X-User").document()
    validate(document)
    assert "NaN" not in json.dumps(document)


@pytest.mark.parametrize(("signature", "split"), SIGNATURES)
def test_examples_fit_their_own_schemas(signature: Signature, split: Json) -> None:
    document = build(signature, split).document()
    for _, _, operation in operations(document):
        for media, content in operation.get("requestBody", {"content": {}})["content"].items():
            for example in content.get("examples", {}).values():
                assert media != "application/json" or not isinstance(example["value"], str)
                check(document, content["schema"], example["value"])
        for reply in operation["responses"].values():
            for content in follow(document, reply).get("content", {}).values():
                examples = [one["value"] for one in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                for value in examples:
                    check(document, content["schema"], value)


def test_every_path_is_in_the_server_and_every_path_of_the_server_is_in_it() -> None:
    house = build(COLUMNS, NAMED)
    served = {
        (route.path, method.lower())  # type: ignore[attr-defined] # BaseRoute has no path
        for route in house.pages.application().routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined] # as above
    }
    served |= {(path, "post") for path in POST_PATHS}
    assert {(path, method) for path, method, _ in operations(house.document())} == served
    assert all(find_route(filled(path)) is not None for path in POST_PATHS)


@pytest.mark.parametrize(
    ("split", "forms"),
    [
        (NAMED, {"mlflow": 4, "open-inference": 1, "seldon-v1": 2, "kserve-v1": 2}),
        (NAMED | {"data": [[1, 2, 3]]}, {"seldon-v1": 3, "open-inference": 0}),
        (NAMED | {"data": [[1.0, [2], "red"]]}, {"seldon-v1": 1, "open-inference": 0}),
        ({"data": [[1.5, 2.0]]}, {"mlflow": 2, "open-inference": 1, "seldon-v1": 2}),
    ],
    ids=["mixed", "numbers where text is asked", "nested", "no names"],
)
def test_forms_that_a_protocol_cannot_carry_are_left_out(
    split: Json, forms: dict[str, int]
) -> None:
    house = build(COLUMNS if "columns" in split else ROWS, split)
    examples = asyncio.run(house.pages._current_examples(house.live))
    assert {name: len(examples.forms[name]) for name in forms} == forms


def test_examples_are_made_once_for_each_revision() -> None:
    house = build(COLUMNS, NAMED)
    first = asyncio.run(house.pages._current_examples(house.live))
    assert asyncio.run(house.pages._current_examples(house.live)) is first
    assert asyncio.run(house.pages._current_examples(replace(house.live))) is not first


def test_a_model_that_refuses_its_example_is_shown_without_answers() -> None:
    house = build(COLUMNS, NAMED)
    house.model.failure = Kind.MISMATCH
    document = house.document()
    answer = document["paths"]["/invocations"]["post"]["responses"]["200"]["content"]
    assert "example" not in answer["application/json"]
    validate(document)


def test_the_id_in_the_examples_is_of_our_form_but_refused() -> None:
    document = build(COLUMNS, NAMED).document()
    header = document["components"]["headers"]["RequestId"]
    assert re.fullmatch(header["schema"]["pattern"], header["example"])
    with pytest.raises(ForgedRequestIdError):
        read(KEY, header["example"])


# The document against the server


def test_every_example_is_answered_as_documented(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    predict = encoded({"dataframe_split": NAMED})
    placeholder = document["components"]["headers"]["RequestId"]["example"]
    tried = 0
    for path, method, operation in operations(document):
        for media, value in bodies(operation) if method == "post" else [("", None)]:
            body = None if value is None else encoded(value)
            if body is not None and placeholder.encode() in body:
                # Of one request each: a second outcome would contradict the first.
                media_type = {"Content-Type": "application/json"}
                _, headers, _ = house.call("/invocations", predict, media_type)
                body = body.replace(placeholder.encode(), headers["X-Mlops-Request-Id"].encode())
            status, headers, answer = house.call(filled(path), body, {"Content-Type": media})
            expected = next(iter(operation["responses"]))
            assert str(status) == expected, (path, media, answer)
            reply = operation["responses"][expected]
            for name, header in reply.get("headers", {}).items():
                assert headers[name], (path, name)
                check(document, follow(document, header)["schema"], _number(headers[name], header))
            content = reply.get("content", {})
            if not content:
                assert answer == b""
            for documented, entry in content.items():
                assert headers.get_content_type() == documented
                is_json = documented == "application/json"
                check(document, entry["schema"], json.loads(answer) if is_json else answer.decode())
            tried += 1
    assert tried > len(operations(document))


def _number(text: str, header: Json) -> Json:
    return int(text) if header.get("$ref", "").endswith("/Revision") else text


def test_what_it_shows_as_an_answer_is_the_answer(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    for path in ("/invocations", "/v1/models/{model}:predict", "/v2/models/infer"):
        operation = document["paths"][path]["post"]
        body = encoded(bodies(operation)[0][1])
        headers = {"Content-Type": "application/json", "X-Mlops-Arm": "old"}
        _, _, answer = house.call(filled(path), body, headers)
        shown = operation["responses"]["200"]["content"]["application/json"]["example"]
        placeholder = document["components"]["headers"]["RequestId"]["example"]
        got = json.loads(answer)
        minted = got.get("id", placeholder)
        assert json.loads(json.dumps(shown).replace(placeholder, minted)) == got


@pytest.mark.parametrize("kind", [Kind.MISMATCH, Kind.MODEL_FAILED, Kind.DEADLINE])
def test_every_failure_has_the_documented_shape(house: House, kind: Kind) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    house.model.failure = kind
    for path, method, operation in operations(document):
        parameters = [follow(document, one)["name"] for one in operation.get("parameters", [])]
        if method != "post" or "X-Mlops-Arm" not in parameters:
            continue
        media, value = bodies(operation)[0]
        _documented(document, house, path, operation, encoded(value), {"Content-Type": media})


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not JSON", {"Content-Type": "application/json"}),
        (b"", {"Content-Type": "application/json"}),
        (b"<a/>", {"Content-Type": "application/xml"}),
        (b"{}", {"Content-Length": str(10**10), "Content-Type": "application/json"}),
        (b'{"request_id": "x", "reward": 1}', {"Content-Type": "application/json"}),
        (b'{"client_id": "nobody", "reward": 1}', {"Content-Type": "application/json"}),
    ],
    ids=["not JSON", "empty", "XML", "too large", "forged", "unknown"],
)
def test_bad_bodies_are_answered_as_documented(
    house: House, body: bytes, headers: dict[str, str]
) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    for path, method, operation in operations(document):
        if method == "post" and operation["requestBody"].get("required"):
            _documented(document, house, path, operation, body, headers)


def test_refused_feedback_is_answered_as_documented(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    operation = document["paths"]["/feedback"]["post"]
    media = {"Content-Type": "application/json"}
    for client_id in ("once", "twice", "twice"):
        predict = encoded({"dataframe_split": NAMED})
        house.call("/invocations", predict, {**media, "X-Request-Id": client_id})
    refused: list[tuple[Json, int]] = [
        ({"client_id": "once", "row": 5}, 422),
        ({"client_id": "twice"}, 409),
        ({"client_id": "never"}, 404),
    ]
    for outcome, expected in refused:
        body = encoded({**outcome, "reward": 1})
        assert house.call("/feedback", body, media)[0] == expected
        _documented(document, house, "/feedback", operation, body, media)


def test_an_unknown_model_is_answered_as_documented(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    for path, method, operation in operations(document):
        if "{model}" in path:
            body = b"{}" if method == "post" else None
            _documented(document, house, path.replace("{model}", "nope"), operation, body, {})


def _documented(
    document: Json,
    house: House,
    path: str,
    operation: Json,
    body: bytes | None,
    headers: Mapping[str, str],
) -> None:
    """Check that a failure has a status and a body that the document knows."""
    status, answered, answer = house.call(filled(path), body, headers)
    assert status >= 400, (path, answer)
    reply = follow(document, operation["responses"][str(status)])
    schema = reply["content"][answered.get_content_type()]["schema"]
    is_json = answered.get_content_type() == "application/json"
    check(document, schema, json.loads(answer) if is_json else answer.decode())


@pytest.mark.parametrize("house", [TOKEN], indirect=True)
def test_with_a_token_the_document_tells_which_paths_ask_for_it(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    assert document["security"] == [{"bearer": []}]
    stranger = replace(house, token="")
    for path, method, operation in operations(document):
        status, headers, _ = stranger.call(filled(path), b"{}" if method == "post" else None)
        is_open = operation.get("security") == []
        assert (status == 401) is not is_open, path
        assert ("401" in operation["responses"]) is not is_open
        assert is_open or headers["WWW-Authenticate"] == "Bearer"


def test_without_a_token_the_document_names_no_security() -> None:
    text = json.dumps(build(COLUMNS, NAMED).document())
    assert "bearer" not in text
    assert '"401"' not in text
