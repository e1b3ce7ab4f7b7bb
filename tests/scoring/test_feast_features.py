"""Scoring from Feast's features: the lake's scores, and others where Feast knows better."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity import columns
from propensity.errors import WarehouseError
from propensity.features.snapshot_reader import read_snapshot
from propensity.features.snapshots import find_snapshot
from propensity.progress import silent
from propensity.scoring import feast_features as feast_features_module
from propensity.scoring import service
from propensity.scoring.feast_features import FeastFeatures, feast_features
from propensity.scoring.manifests import described
from propensity.scoring_settings import ScoringSettings
from propensity.warehouse.lake import Lake
from tests import shop
from tests.scoring.large_snapshot import as_of_of
from tests.scoring.test_manifests import JOB

CREATED = datetime(2100, 1, 1, tzinfo=UTC)
"""After the finished home's publication; the same in every home, so that rows can be equal."""
TOP_K = 4
"""Another one than the finished home's: its publication is of other inputs."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Retrievals, and row groups, of which the shop's customers need several; rows of one creation."""
    monkeypatch.setattr(feast_features_module, "RETRIEVAL_ROWS", 33)
    monkeypatch.setattr(feast_features_module, "ROW_GROUP_ROWS", 16)
    later = timedelta(days=1)
    monkeypatch.setattr(service, "created_after", lambda newest: max(CREATED, newest.created_timestamp + later))


def settings_of(home: Path, **scoring: object):
    return shop.settings_of(home, top_k=TOP_K, scoring=ScoringSettings(**scoring))


def scores(home: Path, **scoring: object) -> pa.Table:
    """Score and return the published rows, as the file has them."""
    settings = settings_of(home, **scoring)
    result = service.score(settings, as_of_of(settings))
    assert not result.already_published
    again = service.score(settings, as_of_of(settings))
    assert again.already_published
    assert again.run.run_id == result.run.run_id
    directory = Lake(settings.lake).run_directory(
        columns.CATEGORY_PROPENSITY, "us", result.run.run_id, as_of_of(settings)
    )
    assert list((settings.lake / ".staging").iterdir()) == []
    return pq.ParquetFile(directory / "part-00000.parquet").read()


def plant(home: Path, customer: int, created: timedelta) -> None:
    """Let Feast have another row of a customer's purchases than the snapshot."""
    settings = settings_of(home)
    snapshot = find_snapshot(settings, as_of_of(settings))
    view, lake = columns.feature_view("purchases"), Lake(settings.lake)
    rows = pq.read_table(lake.run_directory(view, "us", snapshot.run_id, snapshot.as_of), partitioning=None)
    row = rows.slice(customer, 1)
    instant = row.column(columns.CREATED_TIMESTAMP)[0].as_py() + created
    for name in (columns.INDICES, columns.VALUES):
        lists = row.column(name).combine_chunks()
        row = row.set_column(row.schema.get_field_index(name), name, pa.array([[]], lists.type))
    place = row.schema.get_field_index(columns.CREATED_TIMESTAMP)
    row = row.set_column(place, columns.CREATED_TIMESTAMP, pa.array([instant], row.schema.field(place).type))
    with lake.new_run(view, "us", "features-from-elsewhere", snapshot.as_of) as directory:
        pq.write_table(row, directory / "part-0.parquet")


def test_scores_are_the_lakes_to_the_last_bit(finished_home, tmp_path):
    homes = {name: shutil.copytree(finished_home, tmp_path / name) for name in ("lake", "feast")}
    found = {name: scores(home, features_from=name) for name, home in homes.items()}
    assert found["feast"].num_rows == shop.CUSTOMERS
    # A run is named by what it is made of, and a retrieval isn't a snapshot.
    assert found["feast"].column(columns.RUN_ID)[0] != found["lake"].column(columns.RUN_ID)[0]
    assert found["feast"].drop_columns([columns.RUN_ID]).equals(found["lake"].drop_columns([columns.RUN_ID]))


def test_what_feast_has_from_elsewhere_is_scored(home):
    before = scores(home, features_from="lake").sort_by(columns.CUSTOMER_ID)
    plant(home, 7, timedelta(days=1))
    after = scores(home, features_from="feast").sort_by(columns.CUSTOMER_ID)
    propensities = (table.column(columns.PROPENSITIES).to_pylist() for table in (before, after))
    changed = [number for number, (old, new) in enumerate(zip(*propensities, strict=True)) if old != new]
    assert len(changed) == 1


def test_the_file_holds_the_snapshots_rows_and_goes(finished_home):
    settings = settings_of(finished_home, features_from="feast")
    snapshot = find_snapshot(settings, as_of_of(settings))
    told = []
    with feast_features(settings, snapshot, lambda *step: told.append(step)) as features:
        found = pq.ParquetFile(features.file)
        assert [found.metadata.row_group(number).num_rows for number in range(5)] == [16] * 5
        expected = pa.Table.from_batches(read_snapshot(settings, snapshot))
        assert found.read().equals(expected)
    assert told[-1] == ("retrieving", shop.CUSTOMERS, shop.CUSTOMERS)
    assert not features.file.exists()
    with feast_features(settings, snapshot, silent) as again:
        assert again.sha256 == features.sha256


def test_other_rows_than_were_asked_for_are_refused(finished_home, monkeypatch):
    class Job:
        """A store's that gives a customer twice, as Feast's SQL does for two rows of one instant and creation."""

        def __init__(self, job):
            self.job = job

        def to_record_batches(self, rows):
            first = next(self.job.to_record_batches(rows))
            yield pa.concat_batches([first.slice(0, 1), first])

    asked = feast_features_module.features_job
    monkeypatch.setattr(feast_features_module, "features_job", lambda *arguments: Job(asked(*arguments)))
    settings = settings_of(finished_home, features_from="feast")
    with (
        pytest.raises(WarehouseError, match=r"^Feast gives other rows than the customers of snapshot features-"),
        feast_features(settings, find_snapshot(settings, as_of_of(settings)), silent),
    ):
        pass


def test_a_part_of_other_features_is_no_part_of_this_run():
    one, other = (replace(JOB, features=FeastFeatures(Path("a"), sha256)) for sha256 in ("1", "2"))
    moved = replace(JOB, features=FeastFeatures(Path("b"), "1"))
    assert described(one) == described(moved)
    assert len({str(described(job)) for job in (JOB, one, other)}) == 3
