"""Tables from files and request bodies, their columns typed by a model's signature.

The one reader of the package: `mlops predict`, `feedback` and `models compare`, the reference
profile of a training and the server's CSV and Parquet all read with it, so that a file means the
same everywhere. pandas types a column by what is in it; a model's signature knows better: the
zip code `01067` of a `string` column is text, `1` and `1.0` of a `long` column are one whole
number.

- `read_bytes(data, signature)` and `read_path(path, signature)`: a `Table` of JSON cells, from CSV
  (any usual separator, quoted), JSON (all of MLflow's forms, a list of rows, NDJSON) or Parquet,
  plain or packed by gzip, bzip2, xz or zstandard; what it is, is seen from the bytes.
- `frames.read_frame(path, signature)`: the same as a pandas data frame, for large files.
- `fit.check(signature, columns)`: the first cell that does not fit, by column, row and value.
- `signature.read_signature(mlmodel)`: the signature in an `MLmodel` file. A running deployment
  reports its signature in `GET /v2/models/NAME`, under `parameters.mlflow_signature`;
  `signature.signature_of(document)` reads that, and gives an empty signature for servers
  other than mlops. V2's own datatypes would not do: they know no dates, and no nested types.

Without a signature, columns are typed by their cells as `pandas.read_csv` types them. Texts that
pandas takes for missing values (`NA`, `null`, an empty cell) are null, but in a column that the
signature calls one of texts: there only an empty cell is. The CSV body of a request is read as a
scoring server of MLflow reads it, with null for such texts in columns of every type.

Nothing here imports pandas or MLflow before it is needed.
"""

from mlops.tables.reading import read_bytes, read_path
from mlops.tables.table import Table

__all__ = ["Table", "read_bytes", "read_path"]
