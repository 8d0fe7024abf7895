"""Who leaves? Categories, gaps and a boolean through a column transformer."""

import sys

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

strength = float(sys.argv[1])
table = pd.read_csv("data/train.csv")
features, outcome = table.drop(columns="outcome"), table["outcome"]

columns = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["plan", "city"]),
    (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "visits"]),
    (StandardScaler(), ["newsletter"]),
)
model = make_pipeline(columns, LogisticRegression(C=strength))
with mlflow.start_run():
    mlflow.log_input(mlflow.data.from_pandas(table, source="data/train.csv", name="customers"))
    model.fit(features, outcome)
    mlflow.log_metric("accuracy", model.score(features, outcome))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(3),
        pip_requirements=["scikit-learn", "pandas"],
        serialization_format="cloudpickle",
    )
