"""Is a review kind? TF-IDF and a linear model on one column of text."""

import sys

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

strength = float(sys.argv[1])
table = pd.read_csv("data/train.csv")
texts, verdict = table[["text"]], table["verdict"]
words = make_column_transformer((TfidfVectorizer(), "text"))
model = make_pipeline(words, LogisticRegression(C=strength))
with mlflow.start_run():
    model.fit(texts, verdict)
    mlflow.log_metric("accuracy", model.score(texts, verdict))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(texts, model.predict(texts)),
        input_example=texts.head(3),
        pip_requirements=["scikit-learn", "pandas"],
        serialization_format="cloudpickle",
    )
