"""How far does a bridge bend? A model that refuses what it was not made for."""

import sys

import mlflow
import pandas as pd
from mlflow.models import infer_signature


class Bend(mlflow.pyfunc.PythonModel):
    def __init__(self, factor, limit):
        self.factor, self.limit = factor, limit

    def predict(self, context, model_input, params=None):
        if (model_input["load"] > self.limit).any():
            raise ValueError(f"a load above {self.limit} t was never measured")
        return self.factor * model_input["load"] / model_input["axles"]


limit = float(sys.argv[1])
table = pd.read_csv("data/train.csv")
features, bend = table.drop(columns="bend"), table["bend"]
# An example that every version takes, whatever its limit.
light = features[features["load"] <= 1.5]
model = Bend(float((bend * features["axles"]).sum() / features["load"].sum()), limit)
with mlflow.start_run():
    mlflow.log_metric("refused", float((features["load"] > limit).mean()))
    mlflow.pyfunc.log_model(
        name="model",
        python_model=model,
        signature=infer_signature(light, model.predict(None, light)),
        input_example=light.head(3),
        pip_requirements=["pandas"],
    )
