"""Which digit is it? A tensor in, a whole number out."""

import sys

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier

strength = float(sys.argv[1])
images, digits = load_digits(return_X_y=True)
images, digits = images[:600], digits[:600]
model = RidgeClassifier(alpha=1 / strength)
with mlflow.start_run():
    model.fit(images, digits)
    mlflow.log_metric("accuracy", model.score(images, digits))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype("float64"), (-1, 64))]),
            Schema([TensorSpec(np.dtype("int64"), (-1,))]),
        ),
        input_example=images[:2],
        pip_requirements=["scikit-learn", "pandas"],
    )
