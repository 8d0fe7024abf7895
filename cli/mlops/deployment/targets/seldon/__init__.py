"""The Seldon Core v1 target: its graph, refusals and notes."""

from mlops.deployment.targets.seldon.graph import in_graph, node_names, object_name, ratio_a
from mlops.deployment.targets.seldon.target import FILE, Seldon

__all__ = ["FILE", "Seldon", "in_graph", "node_names", "object_name", "ratio_a"]
