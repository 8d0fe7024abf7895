"""What will a ticket cost? XGBoost on a date, a price and a count."""

import sys

import mlflow
import pandas as pd
import xgboost as xgb
from mlflow.models import infer_signature
from sklearn.metrics import root_mean_squared_error


class Fares(mlflow.pyfunc.PythonModel):
    def __init__(self, trees):
        self.trees = trees

    @staticmethod
    def numbers(table):
        when = pd.to_datetime(table["departure"])
        return pd.DataFrame(
            {
                "weekday": when.dt.day_of_week,
                "hour": when.dt.hour,
                "list_price": table["list_price"],
                "seats_left": table["seats_left"],
            }
        )

    def predict(self, context, model_input, params=None):
        return self.trees.predict(self.numbers(model_input)).astype(float)


depth = int(sys.argv[1])
table = pd.read_csv("data/train.csv", parse_dates=["departure"])
features, paid = table.drop(columns="paid"), table["paid"]
trees = xgb.XGBRegressor(max_depth=depth, n_estimators=40, n_jobs=1)
trees.fit(Fares.numbers(features), paid)
model = Fares(trees)
with mlflow.start_run():
    guess = model.predict(None, features)
    mlflow.log_metric("rmse", root_mean_squared_error(paid, guess))
    mlflow.pyfunc.log_model(
        name="model",
        python_model=model,
        signature=infer_signature(features, guess),
        input_example=features.head(3),
        pip_requirements=["pandas", "xgboost"],
    )
