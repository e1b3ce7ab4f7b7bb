"""The platform's own snapshot and labels give EVALUATION.md's figures.

The data are Complete Journey's, which the package's metadata calls simulated.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow.parquet as pq
import pytest

from propensity import columns
from propensity.baselines.popularity import GlobalPopularity
from propensity.evaluation import HoldoutWindow
from propensity.features.dictionary_store import load_dictionary
from propensity.features.labels import build_labels
from propensity.features.snapshot_reader import read_snapshot
from propensity.features.snapshots import build_snapshots
from propensity.features.vectors import csr_from_lists, list_pairs
from propensity.settings import Settings
from propensity.training.examples import Examples
from propensity.training.training_set import popularity
from propensity.warehouse.categories import load_categories
from propensity.warehouse.complete_journey import import_complete_journey
from propensity.warehouse.lake import Lake
from propensity.warehouse.regions import local_midnight

from .worlds import new_home


@pytest.fixture(scope="session")
def journey(tmp_path_factory) -> Settings:
    settings = new_home(tmp_path_factory.mktemp("journey") / "home").model_copy(update={"threads": 2})
    import_complete_journey(settings)
    return settings


@pytest.fixture(scope="session")
def examples(journey) -> Examples:
    """The snapshot and labels of 2017-11-01 as the files have them, without Feast."""
    as_of = local_midnight(date(2017, 11, 1), journey)
    ((snapshot,), (labels,)) = build_snapshots(journey, [as_of]), build_labels(journey, [as_of])
    batches = list(read_snapshot(journey, snapshot))
    customers = np.concatenate([batch.column(columns.CUSTOMER_ID).to_numpy(zero_copy_only=False) for batch in batches])
    n_features, n_categories = len(load_dictionary(journey)), len(load_categories(journey))
    (pairs,) = [list_pairs(batch) for batch in batches]
    directory = Lake(journey.lake).run_directory(columns.CATEGORY_LABELS, "us", labels.run_id, as_of)
    labelled = pq.read_table(directory, partitioning=None)
    assert list(labelled.column(columns.CUSTOMER_ID).to_pylist()) == list(customers)
    assert set(labelled.column(columns.EVENT_TIMESTAMP).to_pylist()) == {local_midnight(date(2017, 12, 1), journey)}
    pair = (labelled.column(columns.LABEL_CATEGORIES), labelled.column(columns.LABEL_CLASSES))
    return Examples(
        customer_id=customers,
        as_of=np.array([as_of.replace(tzinfo=None)], "datetime64[us]"),
        as_of_position=np.zeros(len(customers), np.int32),
        features=csr_from_lists(pairs, n_features),
        labels=csr_from_lists([pair], n_categories).astype(np.int8),
        popularity=popularity(journey, snapshot, n_categories)[None],
    )


@pytest.fixture(scope="session")
def window(journey, examples) -> HoldoutWindow:
    nobody = examples.at(np.array([False]))
    return HoldoutWindow.from_examples(examples, nobody, load_dictionary(journey), load_categories(journey).names)


def test_the_label_windows_check_figures(examples, window):
    assert examples.labels.nnz == 60_868
    assert examples.labels.max() == 1
    figures = window.describe()
    assert figures["households"] == 2452
    assert figures["categories"] == 301
    assert figures["label_density"] == pytest.approx(0.082471, abs=5e-7)
    assert figures["households_with_positive"] == 2050
    assert figures["categories_with_20_positives"] == 222


def test_the_365_day_signals_check_figures(window):
    figures = window.describe()
    assert figures["repeat_share_of_positives"] == pytest.approx(0.84535, abs=5e-6)
    assert figures["p_label_given_repeat"] == pytest.approx(0.251329, abs=5e-7)
    assert figures["p_label_given_explore"] == pytest.approx(0.017650, abs=5e-7)


def test_the_popularity_tables_check_figures(journey, examples, window):
    rule = GlobalPopularity().fit(examples, load_dictionary(journey))
    evaluation = window.evaluate(rule.predict(examples))
    assert evaluation.all.log_loss == pytest.approx(0.22893, abs=5e-6)
    assert evaluation.all.micro_auc == pytest.approx(0.82187, abs=1e-5)
    assert evaluation.all.ndcg_at_10 == pytest.approx(0.5612, abs=5e-5)


def test_every_family_has_features_of_every_signal(examples, journey):
    dictionary = load_dictionary(journey)
    occurring = np.zeros(len(dictionary), bool)
    occurring[examples.features.indices] = True
    assert set(dictionary.signal[occurring]) == set(dictionary.signal)
    assert set(dictionary.family) == set(columns.FAMILIES)
    assert np.isfinite(examples.features.data).all()
    assert examples.features.nnz > 2_500_000
