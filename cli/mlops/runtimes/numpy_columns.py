"""A linear model behind a column transformer, in plain Python and NumPy.

Each transformer adds its part of x W to the scores of a row, so that the row itself, which may be
as wide as a vocabulary, is never made. Texts are cut into words by the vectorizer's own analyzer.

Symbols: W the coefficients (m, c) of m transformed columns, b the intercept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.protocols.base import Payload, Prediction
from mlops.runtimes.base import Batch, Runtime, UnsuitableError
from mlops.runtimes.failures import failure_of
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.scaling import Step, scaling
from mlops.runtimes.table import Table, TableBuilder, is_tabular

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

_Array = np.ndarray[Any, Any]
#: Gives the part of x W that some columns of a table have, (n, c).
_Part = Callable[[Table], _Array]
_VECTORIZERS = frozenset({"CountVectorizer", "TfidfVectorizer"})


class ColumnsRuntime(Runtime):
    """Predicts x W + b, or the class that follows from it.

    Args:
        parts: Give the parts of x W.
        intercept: b, (c,).
        classes: Labels of a classifier, None of a regressor.
        builder: Checks rows against the signature.
        imputed: Positions of the numbers that may be missing.
        known: Position of each text of which only some values are taken, to these.
        fallback: Answers requests with parameters, and rows that the model may refuse.
    """

    def __init__(
        self,
        parts: Sequence[_Part],
        intercept: _Array,
        classes: _Array | None,
        builder: TableBuilder,
        imputed: Sequence[int],
        known: Mapping[int, frozenset[str]],
        fallback: Runtime,
    ) -> None:
        self._parts = parts
        self._intercept = intercept
        self._classes = classes
        self._builder = builder
        self._imputed = list(imputed)
        self._known = known
        self._fallback = fallback

    def prepare(self, payload: Payload, parameters: Mapping[str, Any]) -> Batch:
        """See `Runtime.prepare`."""
        built = None if parameters else self._builder.build(payload)
        if built is None or self._may_be_refused(*built):
            return self._fallback.prepare(payload, parameters)
        return Table(*built)

    def infer(self, batch: Batch) -> Prediction:
        """See `Runtime.infer`."""
        if not isinstance(batch, Table):
            return self._fallback.infer(batch)
        try:
            scores = self._intercept + self._parts[0](batch)
            for part in self._parts[1:]:
                scores += part(batch)
        except Exception as error:
            raise failure_of(error, *self._builder.named(batch)) from error
        classes = self._classes
        if classes is None:
            return scores[:, 0] if scores.shape[1] == 1 else scores
        picked: _Array = scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(axis=1)
        labels: _Array = classes.take(picked)
        return labels

    def _may_be_refused(self, numbers: _Array, texts: Sequence[list[str]]) -> bool:
        if any(not values.issuperset(texts[index]) for index, values in self._known.items()):
            return True
        if isfinite(numbers.sum()):
            return False
        is_odd = ~np.isfinite(numbers)
        is_odd[:, self._imputed] = np.isinf(numbers[:, self._imputed])
        return bool(is_odd.any())


def open_columns(
    model: ModelFolder, estimator: BaseEstimator, linear: BaseEstimator
) -> ColumnsRuntime:
    """Make the runtime of a pipeline of a ColumnTransformer and a linear model.

    Args:
        model: The model.
        estimator: Its pipeline.
        linear: W, b and the classes of its last step.

    Raises:
        UnsuitableError: A step is another one.
    """
    if len(estimator.steps) != 2 or not is_tabular(model.signature.columns):
        raise UnsuitableError("it has further steps, or columns of other types")
    weights, intercept, classes = linear
    builder = TableBuilder(model.signature.columns)
    compiler = _Compiler(estimator.steps[0][1], builder, weights.reshape(len(weights), -1))
    parts = compiler.parts()
    if not parts:
        raise UnsuitableError("its column transformer keeps no column")
    fallback = model.pyfunc
    return ColumnsRuntime(
        parts, intercept, classes, builder, compiler.imputed, compiler.known, fallback
    )


class _Compiler:
    """Turns the transformers of a ColumnTransformer into parts.

    Args:
        transformer: The ColumnTransformer, fitted.
        builder: Says where columns are.
        weights: W (m, c).

    Attributes:
        imputed: Positions of numbers whose missing cells are replaced.
        known: Texts of which other values are refused.
    """

    def __init__(self, transformer: BaseEstimator, builder: TableBuilder, weights: _Array) -> None:
        self._transformer = transformer
        self._numbers = {name: index for index, name in enumerate(builder.numbers)}
        self._texts = {name: index for index, name in enumerate(builder.texts)}
        self._weights = weights
        self.imputed: list[int] = []
        self.known: dict[int, frozenset[str]] = {}

    def parts(self) -> list[_Part]:
        """Return what each transformer adds."""
        found: list[_Part] = []
        for name, step, columns in self._transformer.transformers_:
            weights = self._weights[self._transformer.output_indices_[name]]
            if len(weights):
                names = [columns] if isinstance(columns, str) else list(columns)
                found += self._part(step, [self._name(each) for each in names], weights)
        return found

    def _name(self, column: Any) -> str:  # noqa: ANN401 - a name or a position
        if isinstance(column, str):
            return column
        if isinstance(column, int | np.integer) and not isinstance(column, bool | np.bool_):
            return str(self._transformer.feature_names_in_[column])
        raise UnsuitableError("its columns are picked neither by name nor by position")

    def _part(self, step: object, names: list[str], weights: _Array) -> list[_Part]:
        steps = [each for _, each in step.steps] if hasattr(step, "steps") else [step]
        last = type(steps[-1]).__name__
        if any(not type(s).__module__.startswith("sklearn.") for s in steps if s != "passthrough"):
            raise UnsuitableError("it has a transformer that is not one of scikit-learn")
        if last in _VECTORIZERS and len(steps) == 1 and len(names) == 1:
            return [_words(steps[0], self._text(names[0]), weights)]
        if last == "OneHotEncoder":
            # Rows with a missing text are left to the model, so there is nothing to impute.
            if not all(map(_fills_gaps, steps[:-1])) or (
                steps[:-1] and not set(names) <= set(self._texts)
            ):
                raise UnsuitableError("it encodes categories after another step")
            return self._categories(steps[-1], names, weights)
        return [self._scaled(steps, names, weights)]

    def _text(self, name: str) -> int:
        if name not in self._texts:
            raise UnsuitableError(f"`{name}` is not a text")
        return self._texts[name]

    def _scaled(self, steps: list[Any], names: list[str], weights: _Array) -> _Part:
        other = next((name for name in names if name not in self._numbers), None)
        if other is not None:
            named = [step if isinstance(step, str) else type(step).__name__ for step in steps]
            raise UnsuitableError(
                f"it cannot calculate what `{' > '.join(named)}` makes of the text `{other}`"
            )
        indices = [self._numbers[name] for name in names]
        doing: list[Step] = []
        for step in steps:
            if type(step).__name__ == "SimpleImputer":
                doing.append(_imputing(step, len(names)))
                self.imputed += indices
            else:
                doing += scaling(step)

        def part(table: Table) -> _Array:
            rows = table.numbers[:, indices]
            for do in doing:
                rows = do(rows)
            found: _Array = rows.dot(weights)
            return found

        return part

    def _categories(self, step: BaseEstimator, names: list[str], weights: _Array) -> list[_Part]:
        infrequent = getattr(step, "infrequent_categories_", None) or []
        if step.drop_idx_ is not None or any(each is not None for each in infrequent):
            raise UnsuitableError("it drops or gathers categories")
        parts, start = [], 0
        for name, categories in zip(names, step.categories_, strict=True):
            stop = start + len(categories)
            # The last row is that of a category that is not known.
            table = np.vstack([weights[start:stop], np.zeros((1, weights.shape[1]))])
            parts.append(self._category(step, name, categories, table))
            start = stop
        return parts

    def _category(
        self, step: BaseEstimator, name: str, categories: _Array, weights: _Array
    ) -> _Part:
        if name in self._texts:
            index = self._texts[name]
            positions = {str(each): i for i, each in enumerate(categories)}
            if step.handle_unknown == "error":
                self.known[index] = frozenset(positions)

            def part(table: Table) -> _Array:
                found = [positions.get(text, -1) for text in table.texts[index]]
                taken: _Array = weights.take(found, axis=0)
                return taken

            return part
        if step.handle_unknown == "error":
            raise UnsuitableError("it refuses numbers that it does not know")
        return _numbered(self._numbers[name], categories, weights)


def _numbered(index: int, categories: _Array, weights: _Array) -> _Part:
    positions = {float(each): i for i, each in enumerate(categories)}

    def part(table: Table) -> _Array:
        found = [positions.get(cell, -1) for cell in table.numbers[:, index].tolist()]
        taken: _Array = weights.take(found, axis=0)
        return taken

    return part


def _fills_gaps(step: BaseEstimator) -> bool:
    """Whether a step replaces missing cells, and nothing else."""
    if type(step).__name__ != "SimpleImputer":
        return False
    gap = step.missing_values
    return gap is None or (isinstance(gap, float) and gap != gap)


def _imputing(step: BaseEstimator, width: int) -> Step:
    statistics = np.asarray(step.statistics_, dtype=object)
    if not _fills_gaps(step) or step.add_indicator or len(statistics) != width:
        raise UnsuitableError("it marks missing cells, or has its own sign for them")
    values = statistics.astype(float)
    if np.isnan(values).any():
        raise UnsuitableError("it drops columns that were empty at training")
    return lambda rows: np.where(np.isnan(rows), values, rows)


def _words(step: BaseEstimator, index: int, weights: _Array) -> _Part:
    """Return the part of a text: the sum over its words of their weight times W."""
    analyze, positions = step.build_analyzer(), step.vocabulary_
    is_tfidf = type(step).__name__ == "TfidfVectorizer"
    idf = step.idf_ if is_tfidf and step.use_idf else None
    norm = step.norm if is_tfidf else None
    sublinear, binary = is_tfidf and step.sublinear_tf, step.binary

    def score(text: str) -> _Array:
        counts: dict[int, int] = {}
        for word in analyze(text):
            position = positions.get(word)
            if position is not None:
                counts[position] = counts.get(position, 0) + 1
        # In the order of columns, as a sparse row has them.
        picked = sorted(counts)
        found = np.array([counts[each] for each in picked], dtype=float)
        if binary:
            found = np.minimum(found, 1.0)
        if sublinear:
            found = np.log(found) + 1
        if idf is not None:
            found = found * idf[picked]
        if norm is not None and picked:
            found = found / (np.sqrt(found.dot(found)) if norm == "l2" else np.abs(found).sum())
        result: _Array = found.dot(weights[picked])
        return result

    def part(table: Table) -> _Array:
        return np.array([score(text) for text in table.texts[index]])

    return part
