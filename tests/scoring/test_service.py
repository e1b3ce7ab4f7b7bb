from __future__ import annotations

import dataclasses
import shutil
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from propensity import columns
from propensity.api import Platform
from propensity.errors import ArtifactError, MissingSnapshotError, UnknownModelError, UnknownRegionError
from propensity.features.popularity import popularity
from propensity.features.snapshot_reader import read_snapshot
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import read_artifact
from propensity.scoring import online, service
from propensity.scoring.scorer import Scorer
from propensity.warehouse import publications
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.lake import Lake
from propensity.warehouse.runs import list_runs, record_run
from propensity.warehouse.schemas import PROPENSITY_SCHEMA
from tests import shop


@pytest.fixture
def platform(home):
    return Platform(shop.settings_of(home))


def scoring_runs(platform):
    return list_runs(platform.settings, kind="scoring")


def directories(platform):
    return sorted(path.name for path in platform.settings.lake.glob("category_propensity/*/*/*"))


def forget(platform, run):
    """Take a run's record away, as if the process had been killed before it was written."""
    with catalogue_session(platform.settings) as session:
        session.connection().connection.driver_connection.execute("DELETE FROM runs WHERE run_id = ?", [run.run_id])


def test_the_file_holds_what_the_scorer_says(finished_home):
    platform = Platform(shop.settings_of(finished_home))
    settings, as_of = platform.settings, platform.as_of(shop.AS_OF)
    snapshot = find_snapshot(settings, as_of)
    (model,) = platform.models()
    shares = popularity(settings, snapshot, len(shop.CATEGORIES))
    scorer = Scorer.open(model.artifact, dict(enumerate(shares.tolist())), top_k=settings.top_k)
    expected = {}
    for batch in read_snapshot(settings, snapshot, batch_rows=7):
        for row in scorer.score(batch).to_pylist():
            expected[row["customer_id"]] = row
    (run,) = scoring_runs(platform)
    directory = Lake(settings.lake).run_directory(columns.CATEGORY_PROPENSITY, "us", run.run_id, as_of)
    found = pq.ParquetFile(directory / "part-00000.parquet").read()
    assert found.schema.equals(PROPENSITY_SCHEMA)
    assert found.num_rows == run.rows == len(expected) == shop.CUSTOMERS
    for row in found.to_pylist():
        theirs = expected[row["customer_id"]]
        assert {name: row[name] for name in theirs} == theirs  # to the last bit
        assert (row["region"], row["run_id"], row["model_version"]) == ("us", run.run_id, model.model_version)
        assert row["event_timestamp"] == as_of
        assert row["created_timestamp"] == run.created_timestamp
    assert run.detail["model_version"] == model.model_version
    assert run.detail["snapshot"] == snapshot.run_id


def test_the_same_again_changes_nothing(platform):
    before = scoring_runs(platform)
    result = platform.score(shop.AS_OF)
    assert result.already_published
    assert result.run == before[0]
    assert scoring_runs(platform) == before
    assert not platform.materialize(result)


def test_killed_before_it_was_recorded_the_run_is_recorded_and_not_written_again(platform, monkeypatch):
    (run,) = scoring_runs(platform)
    forget(platform, run)
    assert platform.sql("FROM propensity").empty  # unpublished is unseen

    def write(*_):
        raise AssertionError("written again")

    monkeypatch.setattr(service, "_write", write)
    result = platform.score(shop.AS_OF)
    assert not result.already_published
    assert result.run.run_id == run.run_id
    assert result.run.rows == shop.CUSTOMERS
    assert result.run.created_timestamp == run.created_timestamp  # its rows'
    assert directories(platform) == [f"run={run.run_id}"]
    assert len(platform.sql("FROM propensity")) == shop.CUSTOMERS


def test_files_that_were_lost_are_written_anew(platform):
    (run,) = scoring_runs(platform)
    shutil.rmtree(next(platform.settings.lake.glob("category_propensity/*/*/*")))
    result = platform.score(shop.AS_OF)
    assert not result.already_published
    assert result.run.run_id != run.run_id
    assert len(platform.sql("FROM propensity")) == shop.CUSTOMERS
    assert platform.score(shop.AS_OF).already_published


def test_a_clock_that_goes_back_does_not_bring_old_scores_back(platform, monkeypatch):
    (run,) = scoring_runs(platform)

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2020, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(publications, "datetime", Yesterday)
    second = Platform(shop.settings_of(platform.home, top_k=2)).score(shop.AS_OF)
    assert second.run.created_timestamp > run.created_timestamp
    assert platform.sql("SELECT max(rank) AS n FROM top_categories")["n"][0] == 2


def test_feast_and_sql_agree_on_the_newest(platform):
    other = Platform(shop.settings_of(platform.home, top_k=2))
    for who in (other, platform, other):
        result = who.score(shop.AS_OF)
        assert not result.already_published
        assert who.materialize(result)
        asked = {"customer_id": ["c001"], "event_timestamp": [platform.as_of(shop.AS_OF)]}
        store = who.feature_store()
        frame = pd.DataFrame(asked)
        (historical,) = store.get_historical_features(
            entity_df=frame, features=["category_propensity_top:top_propensities"]
        ).to_df()["top_propensities"]
        (sql,) = who.sql("SELECT top_propensities FROM propensity WHERE customer_id = 'c001'")["top_propensities"]
        assert list(historical) == list(sql)
        assert len(sql) == who.settings.top_k
        assert [entry.propensity for entry in who.top("c001", 2)] == [pytest.approx(value) for value in sql[:2]]
    assert len(scoring_runs(platform)) == 4
    assert len(directories(platform)) == 2  # the settings keep two


def test_a_run_of_rounded_weights_is_another_run_and_says_so(platform):
    (run,) = scoring_runs(platform)
    assert run.detail["sparse_weights"] == "float32"
    rounded = Platform(shop.settings_of(platform.home, scoring={"sparse_weights": "bfloat16"}))
    result = rounded.score(shop.AS_OF)
    assert not result.already_published
    assert result.run.run_id != run.run_id
    assert result.run.detail["sparse_weights"] == "bfloat16"
    assert rounded.score(shop.AS_OF).already_published
    (model,) = platform.models()
    artifact = read_artifact(model.artifact).model
    snapshot = find_snapshot(platform.settings, platform.as_of(shop.AS_OF))
    shares = popularity(platform.settings, snapshot, len(shop.CATEGORIES))
    scorer = Scorer(artifact, dict(enumerate(shares.tolist())), sparse_format="bfloat16")
    (batch,) = read_snapshot(platform.settings, snapshot)
    expected = scorer.score(batch).column("propensities").to_pylist()
    published = platform.sql("SELECT propensities FROM propensity ORDER BY customer_id")["propensities"]
    assert [list(row) for row in published] == expected  # to the last bit; customers are in order
    assert platform.score(shop.AS_OF).run.detail["sparse_weights"] == "float32"


def test_what_is_missing_is_named(platform, home):
    with pytest.raises(MissingSnapshotError, match="propensity features build --as-of 2024-06-05"):
        platform.score("2024-06-05")
    with pytest.raises(UnknownModelError, match="No model of region 'us' was trained by"):
        platform.score("2024-07-02")
    with pytest.raises(UnknownModelError, match="Unknown model 'nonesuch'"):
        platform.score(shop.AS_OF, "nonesuch")
    with pytest.raises(UnknownRegionError):
        Platform(shop.settings_of(home, region="uk")).score(shop.AS_OF)
    (file,) = home.glob("models/us/*/weights.safetensors")
    file.unlink()
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is missing"):
        platform.score(shop.AS_OF)


def test_a_failed_scoring_leaves_nothing(platform, monkeypatch):
    platform.build_features([shop.SOON_AFTER])
    before = directories(platform)

    def fail(*_):
        raise RuntimeError("no more")

    monkeypatch.setattr(Scorer, "score", fail)
    with pytest.raises(RuntimeError, match="no more"):
        platform.score(shop.SOON_AFTER)
    assert directories(platform) == before
    assert not list(platform.settings.lake.glob(".staging/*"))
    assert len(scoring_runs(platform)) == 1


def test_popularity_is_the_share_of_recent_buyers(finished_home):
    platform = Platform(shop.settings_of(finished_home))
    as_of = platform.as_of(shop.AS_OF)
    snapshot = find_snapshot(platform.settings, as_of)
    found = popularity(platform.settings, snapshot, len(shop.CATEGORIES))
    known = {row["customer_id"] for row in shop.event_rows() if row["event_timestamp"] < as_of}
    expected = []
    for name in platform.categories():
        buyers = {
            row["customer_id"]
            for row in shop.event_rows()
            if row["category"] == name
            and row["event_type"] == "purchase"
            and row["quantity"] > 0
            and (as_of - row["event_timestamp"]).total_seconds() <= 30 * 86400
            and row["event_timestamp"] < as_of
        }
        expected.append(len(buyers) / len(known))
    np.testing.assert_allclose(found, np.float32(expected), atol=1.5 / len(known))
    assert found.dtype == np.float32
    # A model that is older than a category has no place for it.
    np.testing.assert_array_equal(popularity(platform.settings, snapshot, 5), found[:5])
    assert popularity(platform.settings, snapshot, 20)[12:].tolist() == [0.0] * 8


# Online -----------------------------------------------------------------------------------------------------------


def test_an_older_run_never_goes_online_after_a_newer(platform):
    platform.build_features([shop.SOON_AFTER, "2024-08-05"])
    newer = platform.score(shop.SOON_AFTER)
    assert platform.materialize(newer)
    older = platform.score("2024-08-05")
    assert not platform.materialize(older)
    assert {entry.as_of for entry in platform.top("c001")} == {platform.as_of(shop.SOON_AFTER)}
    assert not platform.materialize(newer)


def test_killed_before_it_was_marked_it_goes_online_again(platform):
    (run,) = scoring_runs(platform)
    with catalogue_session(platform.settings) as session:
        record_run(session, dataclasses.replace(run, detail={key: run.detail[key] for key in ("inputs", "snapshot")}))
    (unmarked,) = scoring_runs(platform)
    assert online.materialize(platform.settings, unmarked)
    assert scoring_runs(platform)[0].detail["online"]
    assert len(platform.top("c001")) == 5


def test_full_vectors_go_online_when_asked_for(home, monkeypatch):
    monkeypatch.setenv("PROPENSITY_ONLINE_FULL_VECTORS", "1")  # the repository's definitions read it there
    platform = Platform(shop.settings_of(home))
    platform.apply()
    result = platform.score(shop.AS_OF)
    assert result.already_published
    assert platform.materialize(result)  # its top categories were online, its vectors weren't
    assert not platform.materialize(platform.score(shop.AS_OF))
    store = platform.feature_store()
    answer = store.get_online_features(
        features=store.get_feature_service(columns.FULL_SERVICE), entity_rows=[{"customer_id": "c001"}]
    ).to_dict()
    (expected,) = platform.sql("SELECT propensities FROM propensity WHERE customer_id = 'c001'")["propensities"]
    assert answer["propensities"][0] == pytest.approx(expected.tolist())
