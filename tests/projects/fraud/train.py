"""How likely is fraud? The model answers with probabilities."""

import sys

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

strength = float(sys.argv[1])
table = pd.read_csv("data/train.csv")
features, fraud = table.drop(columns="fraud"), table["fraud"]
model = make_pipeline(StandardScaler(), LogisticRegression(C=strength))
with mlflow.start_run():
    model.fit(features, fraud)
    chances = model.predict_proba(features)
    mlflow.log_metric("log_loss", log_loss(fraud, chances))
    mlflow.sklearn.log_model(
        model,
        name="model",
        pyfunc_predict_fn="predict_proba",
        signature=infer_signature(features, chances),
        input_example=features.head(3),
        pip_requirements=["scikit-learn", "pandas"],
    )
