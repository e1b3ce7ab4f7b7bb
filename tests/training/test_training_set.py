"""Training sets through Feast are point-in-time correct: the oracle's features, and no label from after T."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.sparse import vstack

from propensity import columns
from propensity.errors import MissingSnapshotError, TrainingError
from propensity.features.feature_store import open_feature_store
from propensity.features.labels import build_labels, find_labels, label_window_end
from propensity.features.snapshots import build_snapshots, find_snapshot
from propensity.settings import LabelSettings, TrainingSettings
from propensity.training import service
from propensity.training import stored_training_set as stored_training_set_module
from propensity.training.cutoffs import training_cutoffs
from propensity.training.encoding import fit_encoder
from propensity.training.planned_training import data_fingerprint
from propensity.training.stored_training_set import stored_training_set
from propensity.training.training_set import TrainingSet, training_set
from propensity.warehouse.lake import Lake
from propensity.warehouse.schemas import LABEL_SCHEMA
from tests.features import oracle
from tests.features.worlds import (
    MICROSECOND,
    ZONE,
    Event,
    import_attribute_list,
    import_list,
    midnight,
    new_home,
    shop,
)

DAY = timedelta(days=1)
TRAINED = midnight(2017, 11, 5)  # a clock change is an hour away, and within every label window
HISTORY = shop(TRAINED)


def shop_home(directory):
    settings = new_home(
        directory,
        applied=True,
        labels=LabelSettings(horizon_days=14),
        training=TrainingSettings(cutoffs=3, cutoff_every_days=7, min_feature_rows=2),
    )
    events, attributes = HISTORY
    import_list(settings, events)
    import_attribute_list(settings, attributes)
    cutoffs = training_cutoffs(settings, TRAINED)
    build_snapshots(settings, [*cutoffs.refit, TRAINED])
    build_labels(settings, [*cutoffs.refit, TRAINED])
    return settings


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The shop, ready to train as of TRAINED; not to be changed."""
    return shop_home(tmp_path_factory.mktemp("shop") / "home")


@pytest.fixture
def home(built, tmp_path):
    shutil.copytree(built.home, tmp_path / "home")
    return built.model_copy(update={"home": tmp_path / "home"})


def named_features(found: TrainingSet) -> dict[datetime, dict[oracle.Feature, float]]:
    examples, dictionary = found.examples, found.dictionary
    instants = [pd.Timestamp(as_of, tz="UTC").to_pydatetime() for as_of in examples.as_of]
    named: dict[datetime, dict[oracle.Feature, float]] = {as_of: {} for as_of in instants}
    rows = examples.features.tocoo()
    for row, column, value in zip(rows.row, rows.col, rows.data, strict=True):
        as_of = instants[examples.as_of_position[row]]
        named[as_of][examples.customer_id[row], dictionary.signal[column], dictionary.key[column]] = value
    return named


def named_labels(found: TrainingSet) -> dict[datetime, dict[str, dict[str, int]]]:
    examples = found.examples
    instants = [pd.Timestamp(as_of, tz="UTC").to_pydatetime() for as_of in examples.as_of]
    named: dict[datetime, dict[str, dict[str, int]]] = {as_of: {} for as_of in instants}
    for row, customer in enumerate(examples.customer_id):
        mine = examples.labels[row]
        named[instants[examples.as_of_position[row]]][customer] = {
            found.categories.names[index]: int(label) for index, label in zip(mine.indices, mine.data, strict=True)
        }
    return named


def assert_is_the_oracles(found: TrainingSet, settings, events, attributes) -> None:
    features, labels = named_features(found), named_labels(found)
    types = settings.labels.event_types
    assert len(features) > 0
    for position, as_of in enumerate(features):
        oracle.assert_features(features[as_of], oracle.features(events, [attributes], as_of, ZONE))
        end = oracle.window_end(as_of, settings.labels.horizon_days, ZONE)
        assert labels[as_of] == oracle.labels(events, types, as_of, end)
        shares = {
            found.categories.names[index]: pytest.approx(share)
            for index, share in enumerate(found.examples.popularity[position])
            if share
        }
        assert shares == {name: share for name, (_, share) in oracle.popularity(events, types, as_of).items()}


def test_features_labels_and_popularity_are_the_oracles(built):
    cutoffs = training_cutoffs(built, TRAINED)
    found = training_set(built, cutoffs.refit)
    assert [pd.Timestamp(a, tz="UTC") for a in found.examples.as_of] == list(cutoffs.refit)
    assert len(found.examples) == 6 * len(cutoffs.refit)
    assert_is_the_oracles(found, built, *HISTORY)
    rows = list(zip(found.examples.as_of_position, found.examples.customer_id, strict=True))
    assert rows == sorted(rows)


def test_any_order_and_time_zone_of_as_ofs_gives_the_same(built):
    refit = training_cutoffs(built, TRAINED).refit
    one = training_set(built, refit)
    other = training_set(built, [refit[2].astimezone(ZONE), refit[0], refit[1], refit[2]])
    assert list(one.examples.as_of) == list(other.examples.as_of)
    assert (one.examples.features != other.examples.features).nnz == 0
    assert (one.examples.labels != other.examples.labels).nnz == 0


def label_rows(settings, customers, event_timestamp, as_of):
    """A label file's rows that say everybody does everything."""
    n = len(customers)
    instant = pa.timestamp("us", "UTC")
    return pa.table(
        [
            pa.array(customers, pa.string()),
            pa.repeat(pa.scalar(event_timestamp, instant), n),
            pa.repeat(pa.scalar(datetime.now(UTC), instant), n),
            pa.repeat(settings.region, n),
            pa.repeat("labels-planted", n),
            pa.repeat(pa.scalar(as_of, instant), n),
            pa.array([[0, 1]] * n, pa.list_(pa.int32())),
            pa.array([[1, 1]] * n, pa.list_(pa.int32())),
        ],
        schema=LABEL_SCHEMA,
    )


def plant_labels(settings, event_timestamp, as_of):
    customers = sorted(oracle.known_customers(HISTORY[0], TRAINED))
    with Lake(settings.lake).new_run(columns.CATEGORY_LABELS, settings.region, "labels-planted", as_of) as directory:
        pq.write_table(label_rows(settings, customers, event_timestamp, as_of), directory / "part-0.parquet")


@pytest.mark.parametrize("later", [MICROSECOND, DAY / 2, 30 * DAY])
def test_a_label_that_became_known_after_t_is_never_seen(home, later):
    """Planted: newer labels of the newest cut-off's customers whose window ends after T."""
    refit = training_cutoffs(home, TRAINED).refit
    assert label_window_end(home, refit[-1]) == TRAINED
    plant_labels(home, TRAINED + later, refit[-1])
    assert_is_the_oracles(training_set(home, refit), home, *HISTORY)


def test_feast_as_of_t_gives_no_label_whose_window_ends_later(home):
    """Straight from Feast: the labels built for TRAINED itself end two weeks after it, and are there."""
    assert find_labels(home, TRAINED)
    plant_labels(home, TRAINED + MICROSECOND, TRAINED)
    customers = sorted(oracle.known_customers(HISTORY[0], TRAINED))
    store = open_feature_store(home)
    frame = pd.DataFrame({"customer_id": customers, "event_timestamp": pd.Timestamp(TRAINED).as_unit("us")})
    answer = store.get_historical_features(
        entity_df=frame, features=store.get_feature_service(columns.LABEL_SERVICE)
    ).to_df()
    assert len(answer) == len(customers)
    ends = {label_window_end(home, as_of.to_pydatetime()) for as_of in answer[columns.AS_OF].dropna()}
    assert ends == {TRAINED}


def test_a_window_that_ends_together_is_no_substitute(home):
    """Labels of the same end but another start, newer ones: an error that says what to do, and never these labels."""
    refit = training_cutoffs(home, TRAINED).refit
    plant_labels(home, TRAINED, refit[-1] + DAY)
    with pytest.raises(MissingSnapshotError, match="propensity labels build --as-of 2017-10-22") as raised:
        training_set(home, refit)
    assert "\n" not in str(raised.value)


def test_a_later_import_that_reaches_back_wins_in_feast(home):
    """The rebuilt run stands beside the old one, and neither the old rows nor a mixture come back."""
    refit = training_cutoffs(home, TRAINED).refit
    before = [find_snapshot(home, as_of) for as_of in refit]
    fingerprint = data_fingerprint(home, training_cutoffs(home, TRAINED))
    late = [
        Event("a", refit[-1] - 4 * DAY, category="BREAD", value=19),
        Event("late", refit[-1] - 3 * DAY, category="CHEESE"),
        Event("b", TRAINED - DAY, category="CHEESE"),
    ]
    import_list(home, late, "late")
    build_snapshots(home, refit)
    build_labels(home, refit)
    after = [find_snapshot(home, as_of) for as_of in refit]
    assert after[-1].run_id != before[-1].run_id
    assert after[0] == before[0]
    assert_is_the_oracles(training_set(home, refit), home, [*HISTORY[0], *late], HISTORY[1])
    assert data_fingerprint(home, training_cutoffs(home, TRAINED)) != fingerprint


def test_what_trains_is_named_by_what_feast_gives(home):
    """Late labels that weren't built yet must not give the stale training their name."""
    cutoffs = training_cutoffs(home, TRAINED)
    stale = data_fingerprint(home, cutoffs)
    import_list(home, [Event("a", TRAINED - MICROSECOND, category="CHEESE")], "late")
    assert data_fingerprint(home, cutoffs) == stale
    build_labels(home, cutoffs.refit)
    assert data_fingerprint(home, cutoffs) != stale


def test_labels_of_settings_that_go_back_are_these_settings_labels(home):
    """Trying K = 3 and returning to K = 2 must not leave the class 2 of a purchase behind."""
    refit = training_cutoffs(home, TRAINED).refit
    three = home.model_copy(update={"labels": LabelSettings(horizon_days=14, event_types=("view", "purchase"))})
    for settings in (three, home):
        build_snapshots(settings, refit)
        build_labels(settings, refit)
        found = training_set(settings, refit)
        assert_is_the_oracles(found, settings, *HISTORY)
        assert found.examples.labels.max() == settings.labels.n_classes - 1


def test_another_horizon_that_ends_together_does_not_get_in_the_way(home):
    refit = training_cutoffs(home, TRAINED).refit
    week = home.model_copy(update={"labels": LabelSettings(horizon_days=7)})
    shifted = [as_of + 7 * DAY for as_of in refit[:2]]
    assert {label_window_end(week, as_of) for as_of in shifted} == {label_window_end(home, a) for a in refit[:2]}
    build_labels(week, shifted)
    assert_is_the_oracles(training_set(week, shifted), week, *HISTORY)
    build_labels(home, refit)
    assert_is_the_oracles(training_set(home, refit), home, *HISTORY)


def test_files_that_are_gone_are_missed(home):
    """An older snapshot within Feast's ttl must not stand in for them."""
    refit = training_cutoffs(home, TRAINED).refit
    snapshot = find_snapshot(home, refit[-1])
    directory = Lake(home.lake).run_directory("customer_products", "us", snapshot.run_id, refit[-1])
    shutil.rmtree(directory)
    with pytest.raises(MissingSnapshotError, match=r"customer_products.*propensity features build"):
        training_set(home, refit)
    build_snapshots(home, refit)
    assert_is_the_oracles(training_set(home, refit), home, *HISTORY)


def test_another_future_fits_the_same_encoder(built, tmp_path):
    """Whatever happens from T on, the encoder's columns and the model's categories are the same."""
    past = [event for event in HISTORY[0] if event.event_timestamp < TRAINED]
    future = [Event("z", TRAINED + hour * DAY / 24, category=f"AAA {hour}", product_type="NEW") for hour in range(40)]
    other = new_home(tmp_path / "home", applied=True, labels=built.labels, training=built.training)
    import_list(other, [*future, Event("z", TRAINED + 90 * DAY, category="AAA"), *past])
    import_attribute_list(other, HISTORY[1])
    refit = training_cutoffs(built, TRAINED).refit
    assert training_cutoffs(other, TRAINED).refit == refit
    build_snapshots(other, [*refit, TRAINED])
    build_labels(other, refit)
    one, two = training_set(built, refit), training_set(other, refit)
    assert named_features(one) == named_features(two)
    assert named_labels(one) == named_labels(two)
    one_encoder, other_encoder = (
        fit_encoder(found.examples, found.dictionary, found.categories.names, 2) for found in (one, two)
    )
    assert one_encoder.n_columns > 20
    assert one_encoder.categories == other_encoder.categories
    for name in ("feature_column", "column_scale", "feature_position", "signal_mean", "signal_std"):
        assert np.array_equal(getattr(one_encoder, name), getattr(other_encoder, name))


@pytest.mark.parametrize("rows_at_once", [1, 7, 1 << 18])
def test_a_stored_training_set_is_the_one_in_memory(built, tmp_path, monkeypatch, rows_at_once):
    monkeypatch.setattr(stored_training_set_module, "RETRIEVAL_ROWS", rows_at_once)
    refit = training_cutoffs(built, TRAINED).refit
    expected, found = training_set(built, refit), stored_training_set(built, refit, tmp_path / "examples")
    assert found.dictionary.key.tolist() == expected.dictionary.key.tolist()
    assert found.categories == expected.categories
    chunks = list(found.examples.chunks())
    for name in ("customer_id", "as_of_position"):
        joined = np.concatenate([getattr(chunk, name) for chunk in chunks])
        np.testing.assert_array_equal(joined, getattr(expected.examples, name))
    for name in ("features", "labels"):
        assert (vstack([getattr(chunk, name) for chunk in chunks]) != getattr(expected.examples, name)).nnz == 0
    np.testing.assert_array_equal(found.examples.as_of, expected.examples.as_of)
    np.testing.assert_array_equal(found.examples.popularity, expected.examples.popularity)


def test_a_stored_set_misses_labels_too(home, tmp_path):
    refit = training_cutoffs(home, TRAINED).refit
    plant_labels(home, TRAINED, refit[-1] + DAY)
    with pytest.raises(MissingSnapshotError, match="propensity labels build --as-of 2017-10-22"):
        stored_training_set(home, refit, tmp_path / "examples")


@pytest.mark.parametrize("fails", [True, False])
def test_rows_are_gone_after_a_training_and_after_a_killed_one(home, tmp_path, monkeypatch, fails):
    """What a killed training left is removed by the next, which itself leaves nothing, however it ends."""
    killed = Lake(home.lake).root / ".staging" / f"{2**22 + 1}-{'0' * 32}"  # no such process: ids end at 2**22
    (killed / "examples").mkdir(parents=True)
    (killed / "examples" / "0.arrow").write_bytes(b"half a file")
    seen = []

    def fit_net(*_, scratch, **__):
        seen.append(sorted(file.name for file in (scratch / "examples").iterdir()))
        raise TrainingError("stopped here") if fails else KeyboardInterrupt

    monkeypatch.setattr(service, "fit_net", fit_net)
    cutoffs = training_cutoffs(home, TRAINED)
    with pytest.raises(TrainingError if fails else KeyboardInterrupt):
        service.train_artifact(home, cutoffs, tmp_path / "model", "data")
    assert seen == [[f"{number}.arrow" for number in range(len(cutoffs.refit))]]
    assert not list(killed.parent.iterdir())
