"""The KServe target: its splits, refusals and notes."""

from mlops.deployment.targets.kserve.target import KServe

__all__ = ["KServe"]
