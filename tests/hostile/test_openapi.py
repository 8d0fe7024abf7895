"""The server against its own document: whatever is sent, the answer is one that it promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mlops.serving.routes import POST_PATHS
from tests.serving.server import Server

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
_EXAMPLES = {"post": 10, "get": 2}
_CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def operations(server: Server) -> Iterator[Operation]:
    document = server.get("/openapi.json").json
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{server.port}")
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        yield result.ok()


def attack(operation: Operation, mode: GenerationMode, session: requests.Session) -> None:
    """Call one operation with as many cases as its method gets."""

    @seed(1)
    @settings(
        max_examples=_EXAMPLES[operation.method],
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Case[Any]) -> None:
        case.call_and_validate(session=session, checks=_CHECKS, timeout=30, allow_redirects=False)

    run()


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_one_that_the_document_promises(
    server: Server, mode: GenerationMode
) -> None:
    tried, failures = 0, []
    with requests.Session() as session:
        for operation in operations(server):
            try:
                attack(operation, mode, session)
            except Unsatisfiable:
                # Nothing can be wrong with a GET that takes nothing.
                assert (mode, operation.method) == (GenerationMode.NEGATIVE, "get")
            except FailureGroup as error:
                failures.append(error)
            tried += 1
    assert tried > len(POST_PATHS)
    assert not failures, "\n\n".join(str(one) for failure in failures for one in failure.exceptions)
