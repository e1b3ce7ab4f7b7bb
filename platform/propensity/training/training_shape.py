"""What a training is going to read: how many rows and non-zeros, which columns come of them, and a few of the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix, vstack

from propensity import columns
from propensity.features.dictionary_store import load_dictionary
from propensity.features.labels import find_labels
from propensity.features.popularity import popularity
from propensity.features.snapshot import Snapshot
from propensity.features.snapshot_reader import read_snapshot, snapshot_files, snapshot_rows
from propensity.features.snapshot_rows import ROW_GROUP_ROWS
from propensity.features.snapshots import find_snapshot
from propensity.features.vectors import csr_from_lists, list_pairs
from propensity.training.encoding import fit_encoder
from propensity.training.examples import Examples
from propensity.warehouse.categories import load_categories
from propensity.warehouse.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.models.encoding import Encoder
    from propensity.settings import Settings, TrainingSettings
    from propensity.training.cutoffs import Cutoffs
    from propensity.training.examples import ExampleChunks

SAMPLE_ROWS: Final = 4_096
"""Rows that stand for all at most."""
COUNTED_VALUES: Final = 1 << 26
"""Non-zeros that are counted by feature at most; of more, evenly chosen row groups stand for all."""


@dataclass(frozen=True)
class TrainingShape:
    """What a training reads.

    Attributes:
        train: Rows of each training as_of.
        validation: Rows of the validation as_of.
        refit: Rows of each as_of of the refit.
        values: Non-zeros of the refit's features.
        counts: Rows of the refit that have the feature, int64, (n_features,); an estimate where `values` are many.
        sample: Labelled rows of one as_of.
        dictionary: Describes the features.
        categories: Name of each `category_index`.
    """

    train: tuple[int, ...]
    validation: int
    refit: tuple[int, ...]
    values: int
    counts: npt.NDArray[np.int64]
    sample: Examples
    dictionary: FeatureDictionary
    categories: tuple[str, ...]

    @property
    def values_per_row(self) -> float:
        """Non-zeros of a row, on average."""
        return self.values / max(sum(self.refit), 1)

    def encoder(self, settings: TrainingSettings, *, aligned_columns: bool) -> Encoder:
        """Return an encoder as wide as the refit's will be, with scales of the sample alone.

        Raises:
            TrainingError: No category has any evidence, or a cross signal is unknown.
        """
        category_of = self.dictionary.category_index[: self.sample.n_features]
        wanted = self.counts >= settings.min_feature_rows
        kept = np.flatnonzero(wanted | (self.counts > 0) & (category_of >= 0))
        only = np.zeros(self.sample.n_features, bool)
        only[kept] = True
        rows = csr_matrix(self.sample.features)
        rows.data = rows.data * only[rows.indices]
        rows.eliminate_zeros()
        # A row that has every feature: the sample is too small to have met them all.
        everything = csr_matrix((np.ones(len(kept), np.float32), kept, [0, len(kept)]), shape=(1, rows.shape[1]))
        widened = replace(
            self.sample,
            customer_id=np.append(self.sample.customer_id, ""),
            as_of_position=np.append(self.sample.as_of_position, np.int32(0)).astype(np.int32),
            features=csr_matrix(vstack([rows, everything], format="csr")),
            labels=None,
        )
        return fit_encoder(
            widened,
            self.dictionary,
            self.categories,
            1,
            aligned_columns=aligned_columns,
            cross_signals=settings.cross_signals,
        )


def shape_of_snapshots(settings: Settings, cutoffs: Cutoffs) -> TrainingShape:
    """Look at the snapshots and labels of a training: sizes from Parquet's metadata, features and a sample from rows.

    Raises:
        MissingSnapshotError: A snapshot or labels are missing.

    Read-only.
    """
    dictionary, categories = load_dictionary(settings), load_categories(settings)
    snapshots = {as_of: find_snapshot(settings, as_of) for as_of in cutoffs.refit}
    files = [
        file
        for snapshot in snapshots.values()
        for family in columns.FAMILIES
        for file in snapshot_files(settings, snapshot, columns.feature_view(family))
    ]
    values = sum(_n_values(file) for file in files)
    rows = {as_of: snapshot.rows for as_of, snapshot in snapshots.items()}
    middle = snapshots[cutoffs.train[len(cutoffs.train) // 2]]
    return TrainingShape(
        train=tuple(rows[as_of] for as_of in cutoffs.train),
        validation=rows[cutoffs.validation],
        refit=tuple(rows.values()),
        values=values,
        counts=_counts(files, len(dictionary), values),
        sample=_sample(settings, middle, len(dictionary), len(categories)),
        dictionary=dictionary,
        categories=categories.names,
    )


def shape_of_examples(
    train: ExampleChunks,
    validation: ExampleChunks,
    refit: ExampleChunks,
    *,
    dictionary: FeatureDictionary,
    categories: Sequence[str],
) -> TrainingShape:
    """Look at labelled examples that are there already, all of them."""
    counts = np.zeros(refit.n_features, np.int64)
    for chunk in refit.chunks():
        counts += np.bincount(chunk.features.indices, minlength=len(counts))
    first = next(iter(train.chunks()))
    picked = _evenly(len(first))
    sample = replace(
        first,
        customer_id=first.customer_id[picked],
        as_of_position=np.zeros(len(picked), np.int32),
        features=first.features[picked],
        labels=None if first.labels is None else first.labels[picked],
        popularity=first.popularity[:1],
        as_of=first.as_of[:1],
    )
    return TrainingShape(
        train=tuple(train.rows_per_as_of.tolist()),
        validation=len(validation),
        refit=tuple(refit.rows_per_as_of.tolist()),
        values=int(counts.sum()),
        counts=counts,
        sample=sample,
        dictionary=dictionary,
        categories=tuple(categories),
    )


def _n_values(file: Path) -> int:
    """Return the entries of a file's `indices`, from its metadata; an empty list counts as one."""
    metadata = pq.read_metadata(file)
    names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    column = next(number for number, name in enumerate(names) if name.split(".")[0] == columns.INDICES)
    return sum(metadata.row_group(group).column(column).num_values for group in range(metadata.num_row_groups))


def _counts(files: Sequence[Path], n_features: int, values: int) -> npt.NDArray[np.int64]:
    every = max(1, -(-values // COUNTED_VALUES))
    counts = np.zeros(n_features, np.int64)
    number = counted = total = 0
    for path in files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                total += rows
                number += 1
                if number % every:
                    continue
                counted += rows
                lists = file.read_row_group(group, columns=[columns.INDICES]).column(columns.INDICES)
                for chunk in lists.chunks:
                    index = chunk.flatten().to_numpy(zero_copy_only=False)
                    counts += np.bincount(index[index < n_features], minlength=n_features)
    return counts if counted in (0, total) else np.round(counts * (total / counted)).astype(np.int64)


def _sample(settings: Settings, snapshot: Snapshot, n_features: int, n_categories: int) -> Examples:
    """Read some rows of a snapshot, evenly from its middle, with their labels."""
    n_rows = snapshot_rows(settings, snapshot)
    first = max(0, (n_rows - ROW_GROUP_ROWS) // 2)
    middle = range(first, min(n_rows, first + ROW_GROUP_ROWS))
    rows = pa.Table.from_batches(read_snapshot(settings, snapshot, ROW_GROUP_ROWS, middle))
    rows = rows.take(_evenly(rows.num_rows))
    ids = rows.column(columns.CUSTOMER_ID)
    return Examples(
        customer_id=ids.to_numpy(),
        as_of=np.array([snapshot.as_of.replace(tzinfo=None)], "datetime64[us]"),
        as_of_position=np.zeros(len(ids), np.int32),
        features=csr_from_lists(list_pairs(rows), n_features, len(ids)),
        labels=_labels(settings, snapshot.as_of, ids, n_categories),
        popularity=popularity(settings, snapshot, n_categories)[None],
    )


def _labels(settings: Settings, as_of: datetime, ids: pa.ChunkedArray, n_categories: int) -> csr_matrix:
    run_id = find_labels(settings, as_of).run_id
    files = Lake(settings.lake).files(columns.CATEGORY_LABELS, settings.region, run_id=run_id, as_of=as_of)
    names = [columns.CUSTOMER_ID, columns.LABEL_CATEGORIES, columns.LABEL_CLASSES]
    table = pa.concat_tables([pq.read_table(file, columns=names, partitioning=None) for file in files])
    place = pc.index_in(ids, value_set=table.column(columns.CUSTOMER_ID).combine_chunks())
    found = table.take(place)
    pair = (found.column(columns.LABEL_CATEGORIES), found.column(columns.LABEL_CLASSES))
    return csr_from_lists([pair], n_categories, len(ids)).astype(np.int8)


def _evenly(n_rows: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, n_rows - 1, min(n_rows, SAMPLE_ROWS)).astype(np.int64))
