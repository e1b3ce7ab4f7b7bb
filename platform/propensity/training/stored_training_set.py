"""A training set that may be larger than memory: what Feast gives, as it comes, into files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.features.dictionary_store import load_dictionary
from propensity.features.feature_store import open_feature_store
from propensity.features.instants import instants
from propensity.features.popularity import popularity
from propensity.features.retrieval import features_job
from propensity.features.snapshots import find_snapshot
from propensity.features.vectors import csr_from_lists, list_pairs
from propensity.training.stored_examples import CHUNK_ROWS, ExampleFile, StoredExamples
from propensity.training.training_set import customers_at, labels_at
from propensity.warehouse.categories import Categories, load_categories

if TYPE_CHECKING:
    import numpy.typing as npt
    from feast import FeatureStore
    from scipy.sparse import csr_matrix

    from propensity.features.dictionary import FeatureDictionary
    from propensity.features.snapshot import Snapshot
    from propensity.settings import Settings

RETRIEVAL_ROWS: Final = 1 << 14
"""Rows asked for at once, unless a single as_of has more: each retrieval reads the keys of all snapshots."""


@dataclass(frozen=True)
class StoredTrainingSet:
    """Labelled examples in files, with what names their columns.

    Attributes:
        examples: Rows ordered by as_of, then customer_id.
        dictionary: Describes the columns of the features.
        categories: Describes the columns of the labels.
    """

    examples: StoredExamples
    dictionary: FeatureDictionary
    categories: Categories


def stored_training_set(settings: Settings, as_ofs: Sequence[datetime], directory: Path) -> StoredTrainingSet:
    """Join as `training_set` does, with labels, and write the rows into a new directory as they come.

    Memory holds the customers and labels of RETRIEVAL_ROWS rows, or of one as_of that has more, and CHUNK_ROWS rows of
    features; DuckDB keeps to `settings.memory_limit`.

    Raises:
        MissingSnapshotError: A snapshot or the labels of one of the as_ofs were not built.
        SettingsError: An as_of has no time zone.
        OSError: The disk is full.

    Side effects: creates the directory; whoever gave it removes it.
    """
    as_ofs = instants(as_ofs)
    snapshots = [find_snapshot(settings, as_of) for as_of in as_ofs]
    store = open_feature_store(settings)
    dictionary, categories = load_dictionary(settings), load_categories(settings)
    directory.mkdir()
    files: list[Path] = []
    rows: list[int] = []
    for customers in _retrievals(settings, snapshots):
        asked = as_ofs[len(files) : len(files) + len(customers)]
        parts = _parts(settings, store, asked, customers, (len(dictionary), len(categories)))
        for ids in customers:
            with ExampleFile(directory / f"{len(files)}.arrow") as file:
                while file.rows < len(ids):
                    file.append(*next(parts))
            files.append(file.path)
            rows.append(file.rows)
    examples = StoredExamples(
        files=tuple(files),
        as_of=np.array([as_of.replace(tzinfo=None) for as_of in as_ofs], "datetime64[us]"),
        popularity=np.stack([popularity(settings, snapshot, len(categories)) for snapshot in snapshots]),
        rows_per_as_of=np.array(rows, np.int64),
        n_features=len(dictionary),
    )
    return StoredTrainingSet(examples, dictionary, categories)


def _retrievals(settings: Settings, snapshots: Sequence[Snapshot]) -> Iterator[list[npt.NDArray[np.object_]]]:
    """Yield the customers of the snapshots that are asked for at once."""
    together: list[npt.NDArray[np.object_]] = []
    for snapshot in snapshots:
        ids = customers_at(settings, snapshot)
        if together and sum(map(len, together)) + len(ids) > RETRIEVAL_ROWS:
            yield together
            together = []
        together.append(ids)
    yield together


def _parts(
    settings: Settings,
    store: FeatureStore,
    as_ofs: Sequence[datetime],
    customers: Sequence[npt.NDArray[np.object_]],
    width: tuple[int, int],
) -> Iterator[tuple[npt.NDArray[np.object_], csr_matrix, csr_matrix]]:
    """Yield ids, features and labels of CHUNK_ROWS rows at most, in order, never of two as_ofs at once.

    Args:
        customers: Of each as_of.
        width: Columns of features and of labels.
    """
    n_features, n_categories = width
    position = np.repeat(np.arange(len(as_ofs), dtype=np.int32), [len(ids) for ids in customers])
    customer_id = np.concatenate(customers)
    labels = labels_at(settings, store, customer_id, as_ofs, position, n_categories)
    start = 0
    for batch in features_job(store, customer_id, as_ofs, position).to_record_batches(CHUNK_ROWS):
        features = csr_from_lists(list_pairs(batch), n_features, batch.num_rows)
        inside = position[start : start + batch.num_rows]
        cuts = (0, *(np.flatnonzero(np.diff(inside)) + 1).tolist(), batch.num_rows)
        for low, high in pairwise(cuts):
            rows = slice(start + low, start + high)
            yield customer_id[rows], features[low:high], labels[rows]
        start += batch.num_rows
