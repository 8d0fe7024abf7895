"""A ramp whose journal is on a cluster, out of reach of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.deployment.runtime_files import places
from mlops.errors import NotFoundError
from mlops.registry import open_registry
from mlops.registry.ledger import Intent, Ledger
from mlops.settings import load_settings
from mlops.spec.place import Place
from mlops.workflows.ramp import ramp
from tests.deployment.specs import ramped, spec


def test_its_server_is_to_be_asked_for_the_ramp(ready_folder: Path) -> None:
    settings = load_settings(ready_folder, environ={})
    ledger = Ledger(open_registry(settings), settings, "wine")
    canary = ramped(spec(0.95, 0.05))
    place = Place("kubernetes", "shop", "https://cluster", "shop", {})
    ledger.commit(ledger.begin(Intent("deploy", canary, place=place), 0), 1)
    # As a command here leaves it.
    marker = places(settings, "wine").cluster
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    with pytest.raises(NotFoundError) as caught:
        ramp(settings, "wine", dry_run=True)
    assert "is a file in its pod" in caught.value.message
    assert "`mlops ramp wine --url http://localhost:8080`" in (caught.value.hint or "")
