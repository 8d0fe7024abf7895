"""Tables of sinks: every fault at once, and no secret in any message."""

from __future__ import annotations

from typing import Any

import pytest

from mlops.errors import InvalidInputError
from mlops.sinks import SINKS, checked_sinks
from mlops.spec.request_log import sink_from, sink_from_dict, sink_to_dict

HTTP = {"kind": "cloudevents", "to": "http://host/"}


def test_what_is_written_is_read() -> None:
    table = {**HTTP, "features": ["a"], "hash": ["b"], "sample": 0.5, "batch": 10}
    (sink,) = checked_sinks([sink_from("audit", table)])
    assert sink_from_dict(sink_to_dict(sink)) == sink
    assert sink.consumer == "log:audit"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, ["`kind` is missing", "`to` is missing"]),
        ({**HTTP, "sample": 0}, ["`sample` must be above 0"]),
        ({**HTTP, "sample": True, "start": "then"}, ["`sample`", "`start` must be"]),
        ({**HTTP, "features": "some"}, ['"all", "none" or a list']),
        ({**HTTP, "hash": "name"}, ["`hash` must be a list"]),
        ({**HTTP, "kind": "cloudevent"}, ["cloudevent", "cloudevents"]),
        ({**HTTP, "bach": 5}, ["`bach`", "batch"]),
        ({**HTTP, "batch": 0}, ["`batch` must be above 0"]),
        ({**HTTP, "batch": "10"}, ["`batch` must be a whole number"]),
        ({**HTTP, "style": "knative"}, ["`style` must be one of kserve, seldon"]),
        ({**HTTP, "to": "host:80"}, ["must be a URL"]),
        ({"kind": "kafka", "to": "host"}, ["must name brokers"]),
        ({"kind": "parquet", "to": "ftp://host/x"}, ["no store"]),
    ],
)
def test_faults_are_told(table: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        checked_sinks([sink_from("audit", table)])
    assert caught.value.message.startswith("[log.sinks.audit]: ")
    for each in said:
        assert each in caught.value.message


@pytest.mark.parametrize(
    "table",
    [
        {**HTTP, "headers": {"Authorization": "Bearer hunter2"}},
        {**HTTP, "headers": {"X-Api-Token": "hunter2"}},
        *(
            {**HTTP, "headers": {name: "hunter2"}}
            for name in (
                "X-Api-Key",
                "DD-API-KEY",
                "apikey",
                "x-functions-key",
                "X-Auth",
                "Cookie",
                "Ocp-Apim-Subscription-Key",
                "Private-Key",
            )
        ),
        {**HTTP, "to": "http://ann:hunter2@host/"},
        {**HTTP, "to": "http://ann:hunter2@host\u2100/"},
        {**HTTP, "to": "ann:hunter2@host/"},
        {**HTTP, "to": "https://host/?x=1&code=hunter2"},
        {**HTTP, "to": "https://host/?api-key=hunter2"},
        {"kind": "elasticsearch", "to": "https://host/?sig=hunter2"},
        {"kind": "elasticsearch", "to": "http://host/", "password": "hunter2"},
        {"kind": "elasticsearch", "to": "http://host/", "api_key": "hunter2"},
        {"kind": "kafka", "to": "host:1", "config": {"sasl.password": "hunter2"}},
        {"kind": "kafka", "to": "ann:hunter2@host:1"},
        {"kind": "parquet", "to": "s3://ann:hunter2@bucket/x"},
    ],
)
def test_a_secret_is_refused_and_not_repeated(table: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        checked_sinks([sink_from("audit", table)])
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


def test_other_headers_and_parameters_are_plain() -> None:
    headers = {"X-Tenant": "shop", "authority": "host"}
    config = {"sasl.oauthbearer.method": "oidc", "ssl.key.location": "/k"}
    checked_sinks([
        sink_from("one", {**HTTP, "to": "https://host/?tenant=shop", "headers": headers}),
        sink_from("two", {"kind": "kafka", "to": "host:1", "config": config}),
    ])  # fmt: skip


def test_every_option_is_described() -> None:
    for name in SINKS:
        kind = SINKS.load(name)
        assert kind.title
        assert not kind.fault_of(kind.example)
        for option in kind.options.values():
            assert option.meaning
