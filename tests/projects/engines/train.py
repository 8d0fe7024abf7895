"""Power and torque at once: a model with several outputs."""

import sys

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

damping = float(sys.argv[1])
table = pd.read_csv("data/train.csv")
targets = ["power", "torque"]
features, measured = table.drop(columns=targets), table[targets]
model = make_pipeline(StandardScaler(), Ridge(alpha=damping))
with mlflow.start_run():
    model.fit(features, measured)
    mlflow.log_metric("r2", model.score(features, measured))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(3),
        pip_requirements=["scikit-learn", "pandas"],
    )
