"""What is a house worth? LightGBM; a zip code is a text, whatever it looks like."""

import sys

import lightgbm as lgb
import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.metrics import mean_absolute_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

leaves = int(sys.argv[1])
table = pd.read_csv("data/train.csv", dtype={"zip": str})
features, price = table.drop(columns="price"), table["price"]

known = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
columns = make_column_transformer((known, ["zip"]), remainder="passthrough")
trees = lgb.LGBMRegressor(num_leaves=leaves, n_estimators=30, n_jobs=1, verbose=-1)
model = make_pipeline(columns.set_output(transform="pandas"), trees)
with mlflow.start_run():
    model.fit(features, price)
    mlflow.log_metric("mae", mean_absolute_error(price, model.predict(features)))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(3),
        serialization_format="cloudpickle",
    )
