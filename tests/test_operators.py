"""The stand-in for operators goes on where an API is busy, and says where it refuses."""

from __future__ import annotations

import io
import threading
import urllib.error
from email.message import Message
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.kubernetes_api import KubernetesApi
from tests.operators import operators_stand_in

_FAULTS: list[OSError | int] = [503, 429, urllib.error.URLError("refused"), ConnectionResetError()]


class Api:
    """Fails in turn as it is told, then lists one object and takes its status, or refuses it."""

    def __init__(self, faults: list[OSError | int], refuses: int = 0) -> None:
        self.faults, self.refuses = list(faults), refuses
        self.patched = threading.Event()

    def ask(self, method: str, path: str, *_: object) -> Any:
        fault = self.faults.pop(0) if self.faults else 0
        if method == "PATCH":
            self.patched.set()
            fault = self.refuses
        if isinstance(fault, OSError):
            raise fault
        if fault:
            raise urllib.error.HTTPError(path, fault, "no", Message(), io.BytesIO())
        meta = {"metadata": {"name": "a", "namespace": "n", "generation": 1}}
        return {"items": [meta] if path.endswith("/inferenceservices") else []}


def _stand_in(api: Api) -> Any:
    return operators_stand_in(cast(KubernetesApi, SimpleNamespace(ask=api.ask)), "n")


@pytest.mark.parametrize("refuses", [0, 404, 409, 500])
def test_an_api_that_is_busy_or_ahead(refuses: int) -> None:
    api = Api(_FAULTS, refuses)
    with _stand_in(api):
        assert api.patched.wait(120)
        api.patched.clear()
        assert refuses == 0 or api.patched.wait(120)


@pytest.mark.parametrize("refuses", [403, 422])
def test_an_api_that_refuses(refuses: int) -> None:
    api = Api([], refuses)
    with pytest.raises(urllib.error.HTTPError) as caught, _stand_in(api):
        assert api.patched.wait(120)
    assert caught.value.code == refuses
    caught.value.close()
