"""Models in the server: MLflow's model format, loaded once and called fast.

`pyfunc` can serve anything MLflow can; one row costs it a millisecond, most of it building a data
frame. Where the flavour allows, `native` hands an ordered array straight to the estimator, after
the same checks of the signature; it is used only if both gave the same answer at load.
"""

from mlops.serving.models.load import load_model

__all__ = ["load_model"]
