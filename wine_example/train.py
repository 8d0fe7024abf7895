"""How good is this wine? An elastic net on eleven measurements.

`mlops train -P alpha=0.5` runs it tracked, registered and ready to deploy;
`python train.py --alpha 0.5` is the same fit by hand.
"""

import argparse
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.models import infer_signature
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# The customers in customers.csv must stay strangers: nothing here may read that file.
DATA = Path(__file__).parent / "data" / "train.csv"
SEED = 42


def main(alpha: float, l1_ratio: float) -> None:
    wines = pd.read_csv(DATA).astype(float)
    features, quality = wines.drop(columns="quality"), wines["quality"]
    x_fit, x_held, y_fit, y_held = train_test_split(features, quality, random_state=SEED)

    with mlflow.start_run():
        mlflow.log_params({"alpha": alpha, "l1_ratio": l1_ratio})
        # Its digest shows later whether two models saw the same data; its file is what the model's
        # reference profile describes.
        data = mlflow.data.from_pandas(wines, LocalArtifactDatasetSource(str(DATA)), name="wines")
        mlflow.log_input(data, context="training")

        # Without the scaler the penalty would mostly punish the choice of units.
        net = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, random_state=SEED)
        model = make_pipeline(StandardScaler(), net).fit(x_fit, y_fit)

        guess = model.predict(x_held)
        mlflow.log_metrics(
            {
                "rmse": root_mean_squared_error(y_held, guess),
                "mae": mean_absolute_error(y_held, guess),
                "r2": r2_score(y_held, guess),
            }
        )
        mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(x_fit, guess),
            input_example=x_fit.head(2),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a wine quality model.")
    parser.add_argument("--alpha", type=float, default=0.5, help="strength of the penalty")
    parser.add_argument("--l1-ratio", type=float, default=0.1, help="share of it that is L1")
    main(**vars(parser.parse_args()))
