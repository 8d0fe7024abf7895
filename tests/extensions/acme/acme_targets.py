"""Two targets of another package: one writes files, one does all that a target can."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from mlops.deployment.files_target import FilesTarget
from mlops.deployment.ledgers import newest, open_ledger
from mlops.deployment.locate import Found
from mlops.deployment.request import DeployRequest
from mlops.deployment.runtime_files import note_cluster, places
from mlops.deployment.spec_making import make_spec
from mlops.deployment.targets import Rendered, RenderOptions
from mlops.deployment.targets.base import Refusal, refuse
from mlops.deployment.targets.contract import SERVER, Again, How, OptionGroup, Talk
from mlops.errors import ConflictError
from mlops.registry.ledger import Entry, Intent
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.place import Place


class Compose(FilesTarget):
    """A Docker Compose file with a service for each arm."""

    name = "acme-compose"

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        reasons = [Refusal("it has no shadows", "Leave `--shadow` out.")] if spec.shadows else []
        refuse(f"`{spec.name}` cannot be a Compose project", reasons)

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        lines = ["# Rendered by `mlops deploy --target acme-compose`", f"name: {spec.name}"]
        lines += ["services:"]
        for arm in spec.arms:
            lines += [f"  {arm.name.lower()}:", f"    image: {options.cluster.image or 'scorer'}"]
        text = "\n".join([*lines, ""])
        command = "docker compose -f {folder}/compose.yaml up -d"
        return Rendered(files={"compose.yaml": text}, notes=(), after_apply=(command,))


@dataclass(frozen=True)
class Planned:
    intent: Intent
    newest: int
    is_new: bool


@dataclass(frozen=True)
class Record:
    name: str
    revision: int
    state: str = "running"
    url: str = "acme://shelf"
    stopped: bool = False


class Shelf:
    """Lays a deployment down as a file below ACME_ROOT, as another machine might have it."""

    takes: ClassVar[frozenset[OptionGroup]] = frozenset({SERVER})

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def plan(self, wanted: DeployRequest | Again, how: How, talk: Talk) -> Planned:
        if isinstance(wanted, Again):
            intent = wanted.intent
        else:
            spec = make_spec(self._settings, wanted)
            intent = Intent("deploy", spec, given=wanted.given)
        place = Place("acme-shelf", "", _root().as_uri(), intent.spec.name, {})
        ledger = open_ledger(self._settings, intent.spec.name)
        live = ledger.live()
        is_new = how.anew or live is None or live.intent.spec != intent.spec
        return Planned(replace(intent, place=place), newest(ledger), is_new)

    def apply(self, plan: Planned, how: How, talk: Talk) -> Record:
        name = plan.intent.spec.name
        ledger = open_ledger(self._settings, name)
        if not plan.is_new:
            return Record(name, ledger.live_number())
        talk.say("Laying it down")
        note_cluster(places(self._settings, name))
        number = ledger.begin(plan.intent, plan.newest)
        _file(name).write_text(json.dumps([arm.name for arm in plan.intent.spec.arms]))
        ledger.commit(number, time.time_ns() // 1_000_000)
        return Record(name, number)

    def status(self, found: Found) -> Record:
        state = "running" if _file(found.name).exists() else "stopped"
        return Record(found.name, found.entry.number if found.entry else 0, state)

    def logs(self, found: Found, *, last: int, follow: bool) -> Iterator[str]:
        yield f"{_file(found.name).read_text()}\n"

    def stop(self, found: Found, how: How) -> Record:
        ran = _file(found.name).exists()
        if not how.dry_run:
            _file(found.name).unlink(missing_ok=True)
        return Record(found.name, 0, "stopped", stopped=ran)

    def recover(self, found: Found, *, wait_s: float = 60.0) -> list[Entry]:
        return []

    def journal(self, found: Found) -> Any:
        raise ConflictError("A shelf keeps no evidence.")

    def settings_of(self, live: Entry, target: str) -> Mapping[str, Any]:
        return {}


def _root() -> Path:
    return Path(os.environ["ACME_ROOT"])


def _file(name: str) -> Path:
    return _root() / f"{name}.shelf.json"
