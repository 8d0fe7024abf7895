"""The request of `mlops deploy`, with what is kept of the live revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mlops.deployment.deploy import live_revision, open_target
from mlops.deployment.keeping import check_resets, keep
from mlops.deployment.option_rules import check_target, of_platform
from mlops.deployment.request import DeployRequest, read_request
from mlops.deployment.runtime_files import deployment_name
from mlops.deployment.targets.contract import FILES, Say
from mlops.policies.making import Option, with_other_options
from mlops.registry.ledger import LOCAL
from mlops.settings import Settings, load_settings
from mlops.settings.needs import RolloutSettings
from mlops.settings.yaml_text import parse_yaml


@dataclass(frozen=True, slots=True)
class Words:
    """The options of `mlops deploy`, as they were given.

    Attributes:
        models: `ab`, `model`, `arms`, `canary`, `split`, `shadows`, as `read_request` takes them.
        file: A spec file.
        target: Where to, None if not given.
        platform: `version`, `mode` and `split` of the platform.
        router: Whether the bundled server is to be in front of the platform's.
        apply: Whether to apply to a cluster.
        reset: Options of which nothing is kept.
        policy: Options of a policy that is not named, as `features`; None leaves one as it is.
        dry_run: Write nothing, not even the end of an interrupted command.
    """

    models: Mapping[str, Any]
    file: Path | None = None
    target: str | None = None
    platform: Mapping[str, str | None] | None = None
    router: bool = False
    apply: bool = False
    reset: tuple[str, ...] = ()
    dry_run: bool = False
    policy: Mapping[str, Option | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be deployed, where, and by which settings."""

    settings: RolloutSettings
    target: str
    request: DeployRequest


def ask(
    settings: Settings, flags: Mapping[str, Any], words: Words, *, say: Say = lambda _: None
) -> Asked:
    """Resolve the request.

    Manifests that are only rendered are made from the command line and the settings alone, unless
    no model is named: then they are of the live revision.

    Args:
        settings: The project's settings.
        flags: `section.key` to a value given on the command line, as `load_settings` takes them.
        words: The other options.
        say: Called with each phase.

    Raises:
        UsageError: Options do not go together.
        InvalidInputError: The spec file is wrong.
        ConflictError: Another command is changing the deployment.
    """
    check_resets(words.reset)
    named = any(words.models.get(way) for way in ("ab", "model", "arms")) or words.file
    renders = False
    if words.target is not None:
        check_target(words.target)
        renders = FILES in open_target(settings, words.target).takes and not words.apply
    live = None
    if not (renders and named):
        say("Reading the live revision")
        live = live_revision(settings, _name(settings, words.file), dry_run=words.dry_run)
    # Only a cluster that is named is touched.
    target = words.target or (live.intent.target if live and words.apply else LOCAL)
    platform = of_platform(target, router=words.router, **(words.platform or {}))
    if platform:
        settings = load_settings(flags={**flags, **platform})
    has = open_target(settings, live.intent.target).settings_of(live, target) if live else {}
    whole = words.file is not None
    kept = keep(settings, live, target, has, words.reset, whole_spec=whole)
    if any(value is not None for value in words.policy.values()):
        policy = with_other_options(kept.settings.deploy.policy, words.policy)
        settings = load_settings(flags={**flags, **platform, "deploy.policy": policy})
        kept = keep(settings, live, target, has, words.reset, whole_spec=whole)
    request = read_request(
        kept.settings, **words.models, file=words.file, kept=kept, reset=words.reset
    )
    request = replace(request, based_on=live.number if live else None)
    return Asked(kept.settings, target, request)


def _name(settings: Settings, file: Path | None) -> str:
    """Return the name of the deployment, also where a spec file says it."""
    name = deployment_name(settings)
    if file is None or settings.origins["deploy.name"] == "command line":
        return name
    try:
        document = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        # The code that reads it next reports what is wrong with it.
        return name
    own = document.get("name") if isinstance(document, Mapping) else None
    return own if isinstance(own, str) and own else name
