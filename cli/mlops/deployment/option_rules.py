"""Which options of `mlops deploy` go together: of targets, of extras, of applying."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mlops.deployment.prometheus.files import MONITORING
from mlops.deployment.rollouts import ROLLOUTS
from mlops.deployment.targets import TARGETS, platform_of
from mlops.deployment.targets.contract import FILES, SERVER, OptionGroup
from mlops.errors import UsageError, did_you_mean, one_of
from mlops.registry.ledger import LOCAL
from mlops.settings.needs import DeploymentSettings
from mlops.settings.schema import SECTIONS, keys

#: What `--with` and `extras` of `[cluster]` may name.
EXTRAS = (MONITORING, ROLLOUTS)
#: In place of a folder: standard output.
STDOUT = "-"

_FLAGS = {"version": "--platform-version", "mode": "--mode", "split": "--traffic-by"}


def check_options(
    target: str,
    takes: Collection[OptionGroup],
    given: Mapping[OptionGroup, Mapping[str, object]],
) -> None:
    """Refuse options that a target does not understand.

    Args:
        target: Name of the target.
        takes: The groups of options that it understands.
        given: The options of each group, with what was given; a false value was not.

    Raises:
        UsageError: An option does not go with it.
    """
    wrong = {
        option: group
        for group, options in given.items()
        if group not in takes
        for option, value in options.items()
        if value
    }
    if not wrong:
        return
    if FILES not in takes:
        others = "|".join(name for name in TARGETS if name != target)
        raise UsageError(
            f"{one_of(wrong)} is about manifests, and `--target {target}` has none.",
            hint=f"Add `--target {others}`.",
        )
    if SERVER in wrong.values():
        says = f"goes with `--target {LOCAL}` only, not with `{target}`"
    else:
        says = f"is about a cluster, and `--target {target}` only renders files"
    hint = f"Leave {one_of(wrong)} out."
    if "--new-key" in wrong:
        hint += (
            " On a cluster, replace `request-id-key` of the Secret and set the variable "
            "`MLOPS_DEPLOY_NEW_KEY=true` of the pods for one start."
        )
    raise UsageError(f"{one_of(wrong)} {says}.", hint=hint)


def check_target(name: str) -> None:
    """Refuse an unknown target.

    Raises:
        UsageError: There is no such target.
        InvalidInputError: Two packages have a target of this name.
    """
    if name not in TARGETS:
        known = TARGETS.names()
        raise UsageError(
            f"There is no target called `{name}`.",
            hint=did_you_mean(name, known) or f"Use {one_of(known)}.",
        )
    TARGETS.check(name)


def applies(apply: bool, only_applied: Mapping[str, object], to: str | None) -> bool:
    """Whether manifests are to be applied too.

    Args:
        apply: Whether `--apply` was given.
        only_applied: Options that only applying uses, with their values.
        to: Folder for the manifests, `-` for standard output.

    Raises:
        UsageError: An option does not go with it.
    """
    given = [option for option, value in only_applied.items() if value]
    if given and not apply:
        raise UsageError(
            f"{one_of(given)} is about a cluster, and none is touched without `--apply`.",
            hint=f"Add `--apply`, or leave {one_of(given)} out.",
        )
    if apply and to == STDOUT:
        raise UsageError(
            "`--render -` prints manifests, and `--apply` prints the result of applying them.",
            hint="Leave one of them out, or render to a folder.",
        )
    return apply


def of_platform(target: str, *, router: bool = False, **given: str | None) -> dict[str, str]:
    """Turn options about a platform into the settings of the target they are given with.

    Args:
        target: Name of the target.
        router: Whether the bundled server is to be in front of the platform's.
        given: Key of a setting (`version`, `mode`, `split`) to what was given for it.

    Returns:
        `section.key` to value, for those that were given.

    Raises:
        UsageError: The target has no such setting, or no model servers to be in front of.
    """
    if router and not platform_of(target).routed:
        routed = [name for name in TARGETS if platform_of(name).routed]
        raise UsageError(
            f"`--router` does not go with `--target {target}`.",
            hint="The bundled server is the router already there; it can be put in front of the "
            f"model servers of {one_of(routed)}.",
        )
    wanted = {key: value for key, value in given.items() if value is not None}
    for key in wanted:
        if target not in SECTIONS or key not in keys(target):
            having = [each for each in TARGETS if each in SECTIONS and key in keys(each)]
            raise UsageError(
                f"`{_FLAGS[key]}` does not go with `--target {target}`.",
                hint=f"It goes with {one_of(having)}.",
            )
    return {f"{target}.{key}": value for key, value in wanted.items()}


def check_choices(settings: DeploymentSettings, target: str) -> None:
    """Refuse what cannot be chosen together.

    Raises:
        UsageError: There is no such extra, or both server and platform are to split.
    """
    check_extras(settings)
    if settings.cluster.router and settings.origins.get(f"{target}.split") == "command line":
        raise UsageError(
            "`--traffic-by` does not go with `--router`: either the server splits or the platform.",
            hint="Leave one of them out; `router` of `[cluster]` counts as `--router`.",
        )


def check_extras(settings: DeploymentSettings) -> None:
    """Refuse unknown extras.

    Raises:
        UsageError: There is no such extra.
    """
    for extra in settings.cluster.extras:
        if extra not in EXTRAS:
            hint = did_you_mean(extra, EXTRAS) or f"Use {one_of(EXTRAS)}."
            raise UsageError(f"There is no extra called `{extra}`.", hint=hint)
