"""Random JSON, and requests with anything in any place, never make the server fail."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.wire import DOORS, nothing_happens_to
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import Json, Server

_KEYS = [
    *("instances", "inputs", "dataframe_split", "dataframe_records", "params", "columns", "data"),
    *("index", "ndarray", "tensor", "names", "jsonData", "meta", "tags", "puid", "shape", "values"),
    *("id", "name", "datatype", "parameters", "outputs", "content_type", "binary_data_output"),
    *("request_id", "client_id", "row", "reward", "truth", "outcomes", "request", "response"),
    *COLUMNS,
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["FP64", "BYTES", "INT8", "np", "pd", "base64", "gzip", "champion"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
GOOD: list[tuple[str, Json]] = [
    ("/invocations", {"dataframe_split": {"columns": COLUMNS, "data": ROWS}}),
    ("/invocations", {"dataframe_records": records(ROWS)}),
    ("/invocations", {"inputs": {name: [1.0, 2.0] for name in COLUMNS}, "params": {"a": 1}}),
    ("/v1/models/wine:predict", {"instances": ROWS}),
    (
        "/api/v1.0/predictions",
        {"meta": {"puid": "p", "tags": {"a": 1}}, "data": {"names": COLUMNS, "ndarray": ROWS}},
    ),
    ("/api/v1.0/predictions", {"data": {"tensor": {"shape": [1, 3], "values": [1, 2, 3]}}}),
    (
        "/v2/models/wine/infer",
        {
            "id": "i",
            "parameters": {"content_type": "pd", "a": 1},
            "inputs": [
                {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [[1.5]]}
                for name in COLUMNS
            ],
            "outputs": [{"name": "output-1", "parameters": {"binary_data": False}}],
        },
    ),
    ("/feedback", {"outcomes": [{"client_id": "x", "row": 0, "reward": 1, "truth": 1.0}]}),
    (
        "/api/v1.0/feedback",
        {
            "request": {"meta": {"puid": "x"}},
            "response": {"meta": {"tags": {"mlops_request_id": "x"}}},
            "reward": 1,
            "truth": {"data": {"ndarray": [[1.0]]}},
        },
    ),
]
_ONCE = settings(
    max_examples=80,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def still_well(server: Server) -> Iterator[None]:
    """After each test the server answers as if nothing had been."""
    with nothing_happens_to(server):
        yield


def send(server: Server, path: str, document: Json) -> int:
    reply = server.post(path, document)
    assert reply.status < 500, (path, document, reply.body)
    json.loads(reply.body)
    return reply.status


@pytest.mark.parametrize("path", DOORS)
def test_random_json_is_no_failure(server: Server, path: str) -> None:
    @_ONCE
    @given(document=VALUES | st.dictionaries(st.sampled_from(_KEYS), VALUES, max_size=3))
    def run(document: Json) -> None:
        send(server, path, document)

    run()


@pytest.mark.parametrize(("path", "good"), GOOD)
def test_anything_in_any_place_is_no_failure(server: Server, path: str, good: Json) -> None:
    good = json.loads(json.dumps(good))
    assert send(server, path, good) in (200, 404)

    @_ONCE
    @given(data=st.data(), value=VALUES)
    def run(data: st.DataObject, value: Json) -> None:
        document = copy.deepcopy(good)
        holder, key = data.draw(st.sampled_from(list(_places(document))))
        holder[key] = value
        send(server, path, document)

    run()


def _places(node: Json) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) in a document."""
    if isinstance(node, dict | list):
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            yield node, key
            yield from _places(value)
