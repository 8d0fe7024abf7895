"""The KServe target: how it splits or is split for, what it refuses, what it should say."""

from mlops.deployment.targets.kserve.target import KServe

__all__ = ["KServe"]
