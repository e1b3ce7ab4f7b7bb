"""Training and scoring sets from Feast: spine, sparse features and labels, joined point in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix

from propensity import columns
from propensity.errors import MissingSnapshotError
from propensity.features.dictionary_store import load_dictionary
from propensity.features.feature_store import open_feature_store
from propensity.features.instants import instants
from propensity.features.labels import label_window_end
from propensity.features.popularity import popularity
from propensity.features.retrieval import entity_frame, features_job
from propensity.features.snapshot import Snapshot
from propensity.features.snapshots import TABLES, find_snapshot
from propensity.features.vectors import csr_from_lists, list_pairs
from propensity.training.examples import Examples
from propensity.warehouse.categories import Categories, load_categories
from propensity.warehouse.lake import Lake

if TYPE_CHECKING:
    import numpy.typing as npt
    from feast import FeatureStore

    from propensity.features.dictionary import FeatureDictionary
    from propensity.settings import Settings


@dataclass(frozen=True)
class TrainingSet:
    """Examples with what names their columns.

    Attributes:
        examples: Rows ordered by as_of, then customer_id.
        dictionary: Describes the columns of `examples.features`.
        categories: Describes the columns of `examples.labels`.
    """

    examples: Examples
    dictionary: FeatureDictionary
    categories: Categories


def training_set(settings: Settings, as_ofs: Sequence[datetime], *, labels: bool = True) -> TrainingSet:
    """Join features (and labels) of every customer known at each of `as_ofs` through Feast. Read-only.

    Features are the newest snapshot at or before the as_of. Labels are asked for at the end of the label window and
    must be of exactly that window.

    Raises:
        MissingSnapshotError: A snapshot or the labels of one of the as_ofs were not built.
        SettingsError: An as_of has no time zone.
    """
    as_ofs = instants(as_ofs)
    snapshots = [find_snapshot(settings, as_of) for as_of in as_ofs]
    store = open_feature_store(settings)
    dictionary, categories = load_dictionary(settings), load_categories(settings)
    customers = [customers_at(settings, snapshot) for snapshot in snapshots]
    position = np.repeat(np.arange(len(as_ofs), dtype=np.int32), [len(ids) for ids in customers])
    customer_id = np.concatenate(customers)
    features = features_job(store, customer_id, as_ofs, position).to_arrow()
    examples = Examples(
        customer_id=customer_id,
        as_of=np.array([as_of.replace(tzinfo=None) for as_of in as_ofs], "datetime64[us]"),
        as_of_position=position,
        features=csr_from_lists(list_pairs(features), len(dictionary), len(customer_id)),
        labels=labels_at(settings, store, customer_id, as_ofs, position, len(categories)) if labels else None,
        popularity=np.stack([popularity(settings, snapshot, len(categories)) for snapshot in snapshots]),
    )
    return TrainingSet(examples, dictionary, categories)


def customers_at(settings: Settings, snapshot: Snapshot) -> npt.NDArray[np.object_]:
    """Return the ids of the customers known at a snapshot, rising.

    Raises:
        MissingSnapshotError: A file of the snapshot is gone from the lake.
    """
    lake = Lake(settings.lake)
    for table in TABLES:
        # Without this check an older snapshot within Feast's ttl would stand in for the missing files.
        if not lake.has_run(table, settings.region, snapshot.run_id, snapshot.as_of):
            directory = lake.run_directory(table, settings.region, snapshot.run_id, snapshot.as_of)
            raise MissingSnapshotError(
                f"The lake lacks {directory}. Build it again: "
                f"propensity features build --as-of {snapshot.as_of.isoformat()}"
            )
    directory = lake.run_directory(columns.feature_view("profile"), settings.region, snapshot.run_id, snapshot.as_of)
    ids = pq.read_table(directory, columns=[columns.CUSTOMER_ID], partitioning=None).column(0).to_numpy()
    return np.sort(ids)


def labels_at(
    settings: Settings,
    store: FeatureStore,
    customer_id: npt.NDArray[np.object_],
    as_ofs: Sequence[datetime],
    position: npt.NDArray[np.int32],
    n_categories: int,
) -> csr_matrix:
    """Return the customers' labels by `category_index`, int8, of the window from the as_of of each one's `position`.

    Raises:
        MissingSnapshotError: Feast has no labels of exactly that window for somebody.
    """
    ends = [label_window_end(settings, as_of) for as_of in as_ofs]
    table = store.get_historical_features(
        entity_df=entity_frame(customer_id, ends, position),
        features=store.get_feature_service(columns.LABEL_SERVICE),
    ).to_arrow()
    expected = pa.array([as_ofs[number] for number in position], pa.timestamp("us", "UTC"))
    found = table.column(columns.AS_OF).cast(pa.timestamp("us", "UTC")).combine_chunks()
    matches = pc.fill_null(pc.equal(found, expected), False)  # noqa: FBT003 - Arrow's signature
    wrong = np.flatnonzero(~matches.to_numpy(zero_copy_only=False))
    if len(wrong):
        as_of = as_ofs[int(position[wrong[0]])]
        raise MissingSnapshotError(
            f"{len(wrong):,} customers have no labels of the window that starts at {as_of.isoformat()}. "
            f"Build them: propensity labels build --as-of {as_of.astimezone(settings.zone).date()}"
        )
    pair = (table.column(columns.LABEL_CATEGORIES), table.column(columns.LABEL_CLASSES))
    return csr_from_lists([pair], n_categories, len(customer_id)).astype(np.int8)
