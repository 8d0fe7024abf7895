"""What executes a model: MLflow's model format, loaded once and called fast.

A runtime checks rows against the model's signature and makes a batch of them (`prepare`), and
predicts batches (`infer`); batches with equal keys may be joined and predicted in one call.
`pyfunc` can serve anything MLflow can; one row costs it a millisecond, most of it building a data
frame. The others are used only where they were shown, at load, to answer as pyfunc does
(`mlops.runtimes.proof`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.plugins import Plugins

if TYPE_CHECKING:
    from mlops.runtimes.base import Factory

#: The fastest runtime that is right.
AUTO = "auto"
#: Everything that can execute a model, by name. `pyfunc` comes first: it is what others replace.
RUNTIMES: Plugins[Factory] = Plugins(
    "runtime",
    {
        "pyfunc": "mlops.runtimes.pyfunc:open_pyfunc",
        "native": "mlops.runtimes.native:open_native",
        "numpy": "mlops.runtimes.numpy_linear:open_numpy",
        "onnx": "mlops.runtimes.onnx_session:open_onnx [fast]",
        "trees": "mlops.runtimes.trees:open_trees [fast]",
    },
    group="mlops.runtimes",
)

__all__ = ["AUTO", "RUNTIMES"]
