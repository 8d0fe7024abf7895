"""`:explain` of a server that asks for keys."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.fixtures_deployment import Shop


def ask_for_row(shop: Shop, seed: int = 0, **key: str) -> tuple[str, str, dict[str, Any]]:
    """Ask for a prediction; return the request id, the arm, and the row."""
    request = shop.state.request
    assert request is not None
    split = request["dataframe_split"]
    row = [cell * (1 + 0.01 * seed) for cell in split["data"][0]]
    _, said = shop.post("/invocations", {"dataframe_split": {**split, "data": [row]}}, **key)
    named = dict(zip(split["columns"], row, strict=True))
    return said["x-mlops-request-id"], said["x-mlops-arm"], named


def _explained(shop: Shop, instances: list[Any], key: dict[str, str]) -> Any:
    # The first question starts a process of the lowest priority.
    request = urllib.request.Request(
        f"{shop.state.url}/v1/models/wine:explain",
        json.dumps({"instances": instances}).encode(),
        {"content-type": "application/json", **key},
    )
    with urllib.request.urlopen(request, timeout=180) as answer:
        return json.loads(answer.read())


def check_explain(shop: Shop, **key: str) -> None:
    """Ask KServe's V1 call with a key that has the scopes `predict`, `feedback` and `score`."""
    request_id, _, row = ask_for_row(shop, 0, **key)
    # Its answer comes after the decision is in the journal.
    shop.post("/feedback", {"request_id": request_id, "truth": 5}, **key)
    for instances in ([row], [list(row.values()), list(row.values())]):
        answer = _explained(shop, instances, key)
        assert len(answer["explanations"]) == len(instances)
        arms = answer["explanations"][-1]
        assert list(arms) == ["modelA", "modelB"]
        for said in arms.values():
            assert (said["method"], said["errors"]) == ("linear", None)
            whole = said["base"] + sum(said["shares"].values())
            assert whole == pytest.approx(said["prediction"], abs=1e-9)
    bearer = {name.replace("_", "-"): value for name, value in key.items()}
    asked = urllib.request.Request(f"{shop.state.url}/openapi.json", headers=bearer)
    with urllib.request.urlopen(asked) as reply:
        openapi = json.loads(reply.read())
    validate(openapi)
    tensors = [
        {"name": name, "datatype": "FP64", "shape": [1, 1], "data": [cell]}
        for name, cell in row.items()
    ]
    for path, body in (
        ("/v1/models/{model}:explain", {"instances": [row]}),
        ("/v2/models/{model}/explain", {"inputs": tensors}),
    ):
        documented = openapi["paths"][path]["post"]["responses"]["200"]["content"]
        schema = documented["application/json"]["schema"]
        explained, _ = shop.post(path.replace("{model}", "wine"), body, **key)
        whole = {**schema, "components": openapi["components"]}
        Draft202012Validator(whole).validate(explained)
        assert len(explained["explanations"]) == 1
    for path, document, status in (
        ("/v1/models/beer:explain", {"instances": [row]}, 404),
        ("/v1/models/wine:explain", {"instances": [row] * 101}, 400),
        ("/v1/models/wine:explain", {"instances": [{"alcohol": 1.0}]}, 400),
        ("/v1/models/wine:explain", {"rows": []}, 400),
        ("/v1/models/wine:explain", {"instances": []}, 400),
        ("/v1/models/wine:explain", {"instances": [row], "output": "price"}, 400),
        ("/v1/models/wine:explain", {"instances": [row], "output": [0]}, 400),
        ("/v2/models/wine/explain", {"inputs": tensors, "parameters": {"output": "price"}}, 400),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            shop.post(path, document, **key)
        assert caught.value.code == status
        assert "error" in json.loads(caught.value.read())
        caught.value.close()
