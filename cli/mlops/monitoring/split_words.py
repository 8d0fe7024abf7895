"""What a broken split of the traffic is in words: the counts, where to look, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.spec.attribution import write_duration
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.ramp import Ramp

WHERE_TO_LOOK = (
    "Find out what happens between the draw and the journal: retries, clients that choose their "
    "arm, decisions that were shed, several writers."
)
STAYS = (
    "p is the smallest so far, and does not rise when later traffic is right: what was measured "
    "while the split was broken stays in the evidence."
)
# What a ramp that begins again does not change.
REPORT_STAYS = (
    "`mlops ramp` judges only the steps since the ramp last began. `mlops report`, and with it "
    "`mlops promote --auto`, keeps the evidence of before: it stays invalid until one arm has had "
    "all traffic for more than a day."
)
_WHY = "split was broken"


def counts_text(arms: Sequence[str], seen: Sequence[int], expected: Sequence[float]) -> str:
    """Say how many units each arm has by now, and how many it should; empty where not known.

    >>> counts_text(["a", "b"], [2758, 109], [2723.65, 143.35])
    'Now `a` has 2,758 of 2,867 units, expected 2,724; `b` has 109, expected 143.'
    """
    if not seen:
        return ""
    parts = [
        f"`{arm}` has {n:,}{f' of {sum(seen):,} units' if not at else ''}, expected {mean:,.0f}"
        for at, (arm, n, mean) in enumerate(zip(arms, seen, expected, strict=True))
    ]
    # The mismatch may be of an earlier moment: it stays when later traffic makes up for it.
    return f"Now {'; '.join(parts)}."


def begin_again(spec: DeploymentSpec) -> str:
    """Say how an experiment whose split was broken starts over without that evidence."""
    if spec.ramp is not None:
        commands = ", then ".join(f"`{each}`" for each in ramp_again(spec, spec.ramp))
        beside = _ramped(spec, spec.ramp, f"{spec.name}-2")
        return (
            f"When it is mended, {commands} begins the ramp again. {REPORT_STAYS} At once, with a "
            f"report of its own, under another name: `{beside}`, with reward, sticky units and "
            "guardrails given again."
        )
    # The first arm, whatever the report compares with: that gives no challenger all traffic.
    first = spec.arms[0].name
    models = " ".join(arm.model.label for arm in spec.arms)
    return (
        f'When it is mended: `mlops promote {spec.name} --arm {first} --force "{_WHY}"`, which '
        f"gives `{first}` all traffic, and deploy the arms again after more than a day, which "
        "leaves the evidence of before out; or at once under another name: `mlops deploy --name "
        f"{spec.name}-2 --ab {models}`. Give names, split and policy again, and under another name "
        "reward, sticky units and guardrails too: these commands have none of them."
    )


def ramp_again(spec: DeploymentSpec, ramp: Ramp) -> tuple[str, ...]:
    """Return the commands that begin a ramp again with its first step, and without evidence."""
    deploy = _ramped(spec, ramp, spec.name)
    base, canary = spec.arms[:2]
    if ramp.step_of(canary.weight) > 0:
        return (deploy,)
    # What is live is the same as its first step, and deploying that again would change nothing.
    return f'mlops promote {spec.name} --arm {base.name} --force "{_WHY}"', deploy


def _ramped(spec: DeploymentSpec, ramp: Ramp, name: str) -> str:
    """Return the command that deploys a ramp, whatever the project's own plan is."""
    base, canary = spec.arms[:2]
    steps = ",".join(f"{step:g}" for step in ramp.steps)
    return (
        f"mlops deploy --name {name} --model {base.model.label} --canary "
        f"{canary.model.label}={ramp.steps[0]:g} --ramp {steps} --every "
        f"{write_duration(ramp.every_s)} --advance {ramp.advance} "
        f"--{'auto' if ramp.auto else 'no-auto'}"
    )
