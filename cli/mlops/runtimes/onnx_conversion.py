"""Convert a scikit-learn model to ONNX, in a process of its own.

    python -m mlops.runtimes.onnx_conversion FOLDER

In the folder are `estimator.pkl` and `columns.json`, name to MLflow's type. The converters take
seconds and 100 MB, which a server should not; and a process can be ended when it takes too long.
Each file it writes is a variant to try, most exact first: `double.onnx` takes and computes in
float64 where the converters can, `float.onnx` in float32.
"""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlops.runtimes.base import OutOfTimeError, UnsuitableError
from mlops.tables.signature import Column

#: Variants, most exact first.
VARIANTS = ("double", "float")
#: Longest that a conversion may take.
_TIMEOUT_S = 30.0


def convert(estimator: object, columns: Sequence[Column], folder: Path) -> list[Path]:
    """Convert an estimator; return the files of its variants.

    Args:
        estimator: A scikit-learn model or pipeline.
        columns: Its input columns, of numbers, booleans and texts.
        folder: An empty folder to work in.

    Raises:
        UnsuitableError: It cannot be converted, or not in time.
    """
    import cloudpickle

    try:
        (folder / "estimator.pkl").write_bytes(cloudpickle.dumps(estimator))
    except Exception as error:
        raise UnsuitableError(f"it cannot be copied: {type(error).__name__}: {error}") from error
    kinds = {column.name: column.type for column in columns}
    (folder / "columns.json").write_text(json.dumps(kinds), encoding="utf-8")
    command = [sys.executable, "-P", "-m", __name__, str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise OutOfTimeError(f"its conversion takes more than {_TIMEOUT_S:g} s") from None
    files = [folder / f"{variant}.onnx" for variant in VARIANTS]
    found = [file for file in files if file.is_file()]
    if not found:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UnsuitableError(
            f"it cannot be converted: {lines[-1][:200] if lines else 'no reason'}"
        )
    return found


def main() -> None:
    """Write every variant that the converters can make; say why the last one failed."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    kinds = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    model = pickle.loads((folder / "estimator.pkl").read_bytes())  # noqa: S301 - from this one's parent
    _register()
    for variant in VARIANTS:
        try:
            content = _converted(model, kinds, variant)
        except Exception as error:  # noqa: BLE001 - converters raise what they like
            text = " ".join(str(error).split())
            print(f"{type(error).__name__}: {text}", file=sys.stderr)
        else:
            (folder / f"{variant}.onnx").write_bytes(content)


def _converted(model: object, kinds: Mapping[str, str], variant: str) -> bytes:
    import skl2onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    number = DoubleTensorType if variant == "double" else FloatTensorType
    if "string" in kinds.values() or _wants_names(model):
        inputs = [
            (name, (StringTensorType if kind == "string" else number)([None, 1]))
            for name, kind in kinds.items()
        ]
    else:
        inputs = [("X", number([None, len(kinds)]))]
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    options = {id(last): {"zipmap": False}} if hasattr(last, "classes_") else None
    converted = skl2onnx.to_onnx(model, initial_types=inputs, options=options)
    content: bytes = converted.SerializeToString()
    return content


def _wants_names(model: object) -> bool:
    """Whether a column transformer picks columns by name."""
    first = model.steps[0][1] if hasattr(model, "steps") else model
    return hasattr(first, "transformers")


def _register() -> None:
    """Let pipelines end with LightGBM's and XGBoost's estimators, where these are installed."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for library, prefix in (("lightgbm", "LGBM"), ("xgboost", "XGB")):
        try:
            module = __import__(library)
            home = f"onnxmltools.convert.{library}.operator_converters"
            name = {"lightgbm": "LightGbm", "xgboost": "XGBoost"}[library]
            convert_one = getattr(__import__(f"{home}.{name}", fromlist=[""]), f"convert_{library}")
        except (ImportError, AttributeError):
            continue
        classifier = getattr(module, f"{prefix}Classifier")
        update_registered_converter(
            classifier, classifier.__name__, calculate_linear_classifier_output_shapes,
            convert_one, options=options,
        )  # fmt: skip
        regressor = getattr(module, f"{prefix}Regressor")
        update_registered_converter(
            regressor, regressor.__name__, calculate_linear_regressor_output_shapes, convert_one
        )


if __name__ == "__main__":
    main()
