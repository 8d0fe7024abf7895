"""What does printing cost? Optional columns, and a parameter of the request."""

import sys

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


class Quote(mlflow.pyfunc.PythonModel):
    def __init__(self, pipeline):
        self.pipeline = pipeline

    def predict(self, context, model_input, params=None):
        table = model_input.reindex(columns=["pages", "paper", "discount"])
        markup = (params or {}).get("markup", 0.0)
        return self.pipeline.predict(table) * (1 + markup)


smoothing = float(sys.argv[1])
table = pd.read_csv("data/train.csv")
features, price = table.drop(columns="price"), table["price"]
columns = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["paper"]),
    (SimpleImputer(strategy="constant", fill_value=0.0), ["pages", "discount"]),
)
model = Quote(make_pipeline(columns, Ridge(alpha=smoothing)).fit(features, price))
signature = infer_signature(features, model.predict(None, features), params={"markup": 0.0})
with mlflow.start_run():
    mlflow.log_metric("mae", mean_absolute_error(price, model.predict(None, features)))
    mlflow.pyfunc.log_model(
        name="model",
        python_model=model,
        signature=signature,
        input_example=features.head(3),
        pip_requirements=["pandas", "scikit-learn"],
    )
