"""The encoder: from raw sparse features to what the nets read. Fitted once, carried in the artifact.

Training and scoring run this same code. `training/encoding.py` fits it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix

from propensity.arrow_numpy import numpy_array
from propensity.errors import ArtifactError
from propensity.models.encoded_rows import EncodedRows
from propensity.models.seen_pairs import seen_pairs
from propensity.models.selection import select

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary

ENCODER_TABLE: Final = "encoder.parquet"
ENCODER_JSON: Final = "encoder.json"
POPULARITY_FLOOR: Final = 1e-4
"""Popularities are clipped to [floor, 1 - floor] before their log-odds are taken."""


@dataclass(frozen=True)
class Encoder:
    """What was learned about features from the training rows.

    Attributes:
        feature_column: A feature's column in the deep part's input, -1 if it has none, int32, (n_features,).
            Columns go by falling frequency, so that hot rows of the weight share cache lines.
        column_scale: What a column's transformed values are divided by, float32, (n_columns,).
        feature_position: For a category-aligned feature its category's position in the model's output, else
            -1; int32, (n_features,).
        feature_signal: For a category-aligned feature its signal's position in `aligned_signals`, else -1;
            int32, (n_features,).
        feature_customer: For a signal of the customer as a whole its position in `customer_signals`, else -1; int32,
            (n_features,).
        aligned_signals: Names of the category-aligned signals, (n_signals,).
        signal_mean: Mean of the transformed signal over the training rows' seen pairs, float32, (n_signals,).
        signal_std: Its standard deviation, at least 1e-6, float32, (n_signals,).
        cross_signals: Positions in `aligned_signals` of those that the cross-category part reads.
        customer_signals: Names of the signals of the customer as a whole, (n_customer_signals,).
        customer_mean: Mean of the transformed signal over the training rows, float32, (n_customer_signals,).
        customer_std: Its standard deviation, at least 1e-6, float32, (n_customer_signals,).
        category_index: The stable index of each output position, rising, int32, (n_categories,).
        categories: The category's name, (n_categories,).
    """

    feature_column: npt.NDArray[np.int32]
    column_scale: npt.NDArray[np.float32]
    feature_position: npt.NDArray[np.int32]
    feature_signal: npt.NDArray[np.int32]
    feature_customer: npt.NDArray[np.int32]
    aligned_signals: tuple[str, ...]
    signal_mean: npt.NDArray[np.float32]
    signal_std: npt.NDArray[np.float32]
    cross_signals: tuple[int, ...]
    customer_signals: tuple[str, ...]
    customer_mean: npt.NDArray[np.float32]
    customer_std: npt.NDArray[np.float32]
    category_index: npt.NDArray[np.int32]
    categories: tuple[str, ...]

    @property
    def n_features(self) -> int:
        """Features the encoder knows; a `feature_index` beyond is ignored: the dictionary grows."""
        return len(self.feature_column)

    @property
    def n_columns(self) -> int:
        """Width of the deep part's input."""
        return len(self.column_scale)

    def transform(self, features: csr_matrix) -> EncodedRows:
        """Encode raw features, float32, (n_rows, any number of features).

        A value v becomes sign(v) * log1p(|v|), divided by the column's scale in the deep part and
        standardised in the category-aligned part, where a signal that isn't stored counts as 0. The cross part
        takes it as it is.
        """
        features = _within(features, self.n_features)
        values = squash(features.data)
        scale = self.column_scale if self.n_columns else np.ones(1, np.float32)  # a net needs an input
        deep = select(features, self.feature_column, values, len(scale), scale)
        indptr, position, signals = seen_pairs(
            features,
            values,
            self.feature_position,
            self.feature_signal,
            n_categories=len(self.categories),
        )
        cross = _cross(indptr, position, signals[:, self.cross_signals], len(self.categories))
        signals -= self.signal_mean
        signals /= self.signal_std
        customer = customer_matrix(features, values, self.feature_customer)
        customer -= self.customer_mean
        customer /= self.customer_std
        return EncodedRows(deep, customer, cross, indptr, position, signals)

    def prior(self, popularity: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return log-odds, (n_as_of, n_categories), of popularity by `category_index`, (n_as_of, any width).

        A category beyond the width given was bought by nobody.
        """
        return log_odds(self.shares(popularity))

    def shares(self, popularity: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Bring popularity by `category_index`, (n_as_of, any width), into the model's category order."""
        known = self.category_index < popularity.shape[1]
        shares = np.zeros((len(popularity), len(self.categories)), np.float32)
        shares[:, known] = popularity[:, self.category_index[known]]
        return shares

    def labels(self, stored: csr_matrix) -> csr_matrix:
        """Bring labels by `category_index`, (n_rows, any width), into the model's columns; others go."""
        width = max(stored.shape[1], int(self.category_index[-1]) + 1)
        widened = csr_matrix((stored.data, stored.indices, stored.indptr), shape=(stored.shape[0], width))
        return widened[:, self.category_index]

    def write(self, directory: Path, dictionary: FeatureDictionary) -> None:
        """Write `encoder.parquet`, a row per feature used with its names for people, and `encoder.json`."""
        used = np.flatnonzero((self.feature_column >= 0) | (self.feature_signal >= 0) | (self.feature_customer >= 0))
        column = self.feature_column[used]
        scale = np.where(column >= 0, self.column_scale[column] if self.n_columns else 1.0, np.nan)
        table = pa.table(
            {
                "feature_index": pa.array(used, pa.int32()),
                "family": pa.array(dictionary.family[used], pa.string()),
                "signal": pa.array(dictionary.signal[used], pa.string()),
                "key": pa.array(dictionary.key[used], pa.string()),
                "column": pa.array(column, pa.int32(), mask=column < 0),
                "scale": pa.array(scale.astype(np.float32), pa.float32(), mask=column < 0),
                "category_position": _nullable(self.feature_position[used]),
                "aligned_signal": _nullable(self.feature_signal[used]),
                "customer_signal": _nullable(self.feature_customer[used]),
            }
        )
        pq.write_table(table, directory / ENCODER_TABLE)
        described = {
            "n_features": self.n_features,
            "n_columns": self.n_columns,
            "transform": "sign(v) * log1p(|v|), then v / scale for a column, (v - mean) / std for a signal",
            "aligned_signals": _described(self.aligned_signals, self.signal_mean, self.signal_std),
            "cross_signals": [self.aligned_signals[position] for position in self.cross_signals],
            "customer_signals": _described(self.customer_signals, self.customer_mean, self.customer_std),
            "categories": [
                {"category_index": int(index), "category": name}
                for index, name in zip(self.category_index, self.categories, strict=True)
            ],
        }
        (directory / ENCODER_JSON).write_text(json.dumps(described, indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> Encoder:
        """Read what `write` wrote.

        Raises:
            ArtifactError: The files don't describe an encoder.
        """
        try:
            described = json.loads((directory / ENCODER_JSON).read_text())
            table = pq.ParquetFile(directory / ENCODER_TABLE).read()
            used = numpy_array(table["feature_index"])

            def spread(name: str) -> npt.NDArray[np.int32]:
                full = np.full(described["n_features"], -1, np.int32)
                given = table[name].is_valid()
                full[numpy_array(table["feature_index"].filter(given))] = numpy_array(table[name].drop_null())
                return full

            feature_column = spread("column")
            scale = np.ones(described["n_columns"], np.float32)
            with_column = feature_column[used] >= 0
            scale[feature_column[used][with_column]] = numpy_array(table["scale"].drop_null())
            signals, categories = described["aligned_signals"], described["categories"]
            customer = described["customer_signals"]
            names = tuple(entry["signal"] for entry in signals)
            return cls(
                feature_column=feature_column,
                column_scale=scale,
                feature_position=spread("category_position"),
                feature_signal=spread("aligned_signal"),
                feature_customer=spread("customer_signal"),
                aligned_signals=names,
                signal_mean=np.array([entry["mean"] for entry in signals], np.float32),
                signal_std=np.array([entry["std"] for entry in signals], np.float32),
                cross_signals=tuple(names.index(name) for name in described["cross_signals"]),
                customer_signals=tuple(entry["signal"] for entry in customer),
                customer_mean=np.array([entry["mean"] for entry in customer], np.float32),
                customer_std=np.array([entry["std"] for entry in customer], np.float32),
                category_index=np.array([entry["category_index"] for entry in categories], np.int32),
                categories=tuple(entry["category"] for entry in categories),
            )
        except (OSError, KeyError, TypeError, ValueError, IndexError, pa.ArrowException) as error:
            raise ArtifactError(f"{directory}: the encoder's files can't be read ({error}). Train again.") from error


def squash(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return sign(v) * log1p(|v|): counts, money and days on one scale."""
    return np.copysign(np.log1p(np.abs(values)), values).astype(np.float32, copy=False)


def log_odds(share: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return log(p / (1 - p)) of shares clipped to [POPULARITY_FLOOR, 1 - POPULARITY_FLOOR]."""
    clipped = np.clip(share, POPULARITY_FLOOR, 1 - POPULARITY_FLOOR)
    odds: npt.NDArray[np.float32] = (clipped / (1 - clipped)).astype(np.float32)
    return np.log(odds)


def customer_matrix(
    features: csr_matrix, values: npt.NDArray[np.float32], feature_customer: npt.NDArray[np.int32]
) -> npt.NDArray[np.float32]:
    """Return the signals of the customer as a whole, (n_rows, n_customer_signals), as given in `values`; 0 if none."""
    n_signals = int(feature_customer.max(initial=-1)) + 1
    if n_signals == 0:
        return np.zeros((features.shape[0], 0), np.float32)
    dense: npt.NDArray[np.float32] = select(features, feature_customer, values, n_signals).toarray()
    return dense


def _cross(
    indptr: npt.NDArray[np.int64],
    position: npt.NDArray[np.int32],
    signals: npt.NDArray[np.float32],
    n_categories: int,
) -> csr_matrix:
    n_signals = signals.shape[1]
    columns = position[:, None] * n_signals + np.arange(n_signals, dtype=np.int32)
    return csr_matrix(
        (np.ascontiguousarray(signals).ravel(), columns.ravel(), indptr * n_signals),
        shape=(len(indptr) - 1, max(n_categories * n_signals, 1)),
    )


def _described(
    names: tuple[str, ...], means: npt.NDArray[np.float32], stds: npt.NDArray[np.float32]
) -> list[dict[str, str | float]]:
    return [
        {"signal": name, "mean": float(mean), "std": float(std)}
        for name, mean, std in zip(names, means, stds, strict=True)
    ]


def _within(features: csr_matrix, n_features: int) -> csr_matrix:
    if features.shape[1] <= n_features:
        return features
    index = np.arange(features.shape[1], dtype=np.int32)
    return select(features, np.where(index < n_features, index, -1), features.data, n_features)


def _nullable(array: npt.NDArray[np.int32]) -> pa.Array:
    return pa.array(array, pa.int32(), mask=array < 0)
