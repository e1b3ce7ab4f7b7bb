"""The same definitions on Feast's stock DuckDB store: equal where it is right, and where it differs, why.

Each difference below is a test that shows both answers, so that a Feast release which changes one is noticed.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureView, Field, FileSource, RepoConfig
from feast.types import Array, Float32, Int32, Int64, String

from propensity.feast_duckdb import DuckDBOfflineStore

from .views import CUSTOMER, history, hour, write

stock = pytest.importorskip("feast.infra.offline_stores.duckdb", reason="ibis-framework[duckdb] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

STORES = {"duckdb": stock.DuckDBOfflineStore, "propensity.feast_duckdb.DuckDBOfflineStore": DuckDBOfflineStore}
REGISTRY: Any = SimpleNamespace(list_on_demand_feature_views=lambda *_, **__: [])
FEATURES = ["indices", "values", "score"]


def definitions(path: Path, ttl: timedelta = timedelta(0), extra: tuple[str, ...] = ()) -> FeatureView:
    """Define a view on a file with Feast's own source."""
    source = FileSource(
        name="purchases",
        path=str(path),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [
        Field(name="customer_id", dtype=String),
        Field(name="indices", dtype=Array(Int32)),
        Field(name="values", dtype=Array(Float32)),
        Field(name="score", dtype=Int64),
        *(Field(name=name, dtype=Int64) for name in extra),
    ]
    return FeatureView(name="purchases", entities=[CUSTOMER], ttl=ttl, schema=schema, source=source)


def settings(repo: Path, store: str) -> RepoConfig:
    """Configure one of the stores: the only line that differs."""
    return RepoConfig(
        project="test",
        provider="local",
        registry=str(repo / "registry.pb"),
        repo_path=repo,
        entity_key_serialization_version=3,
        offline_store={"type": store},
    )


def on_both(repo: Path, made: FeatureView, spine: pd.DataFrame, features: list[str], **options: Any) -> list[pa.Table]:
    """Retrieve from the stock store, then from this one."""
    refs = [f"purchases:{feature}" for feature in features]
    return [
        found.get_historical_features(
            settings(repo, store), [made], refs, spine.copy(), REGISTRY, "test", **options
        ).to_arrow()
        for store, found in STORES.items()
    ]


def frame(*rows: tuple[str, float]) -> pd.DataFrame:
    """Make an entity frame."""
    times = pd.to_datetime([hour(at) for _, at in rows], utc=True).as_unit("us")
    return pd.DataFrame({"customer_id": [customer for customer, _ in rows], "event_timestamp": times})


@pytest.mark.parametrize("known_only", [False, True])
@pytest.mark.parametrize("ttl_hours", [0, 7])
@pytest.mark.parametrize("full_feature_names", [False, True])
def test_same_answers(tmp_path: Path, known_only: bool, ttl_hours: int, full_feature_names: bool) -> None:
    rng = np.random.default_rng(5)
    rows = [
        (f"c{rng.integers(8)}", float(event), float(event + rng.integers(0, 5)), index, [index, index + 1])
        for index, event in enumerate(rng.permutation(300) / 5)
    ]
    made = definitions(write(tmp_path / "p.parquet", history(*rows)), timedelta(hours=ttl_hours))
    spine = frame(*((f"c{rng.integers(9)}", float(at)) for at in rng.permutation(80) * 0.8))
    options = {"full_feature_names": full_feature_names, "filter_by_created_timestamp": known_only}
    theirs, ours = on_both(tmp_path, made, spine, FEATURES, **options)
    assert theirs.column_names == ours.column_names
    keys = [("customer_id", "ascending"), ("event_timestamp", "ascending")]
    assert theirs.sort_by(keys).to_pylist() == ours.sort_by(keys).to_pylist()
    assert ours.column(ours.column_names[-1]).null_count < len(spine)


def test_it_loses_the_entity_frames_order(tmp_path: Path) -> None:
    """Rows come back in the frame's order here, so labels may lie beside them; there they don't."""
    made = definitions(write(tmp_path / "p.parquet", history(*((f"c{n}", 1, 1, n) for n in range(0, 4_000, 2)))))
    spine = frame(*((f"c{n}", 2) for n in np.random.default_rng(0).permutation(4_000)))
    theirs, ours = (rows.column("customer_id").to_pylist() for rows in on_both(tmp_path, made, spine, ["score"]))
    assert ours == spine["customer_id"].tolist()
    assert sorted(theirs) == sorted(ours)
    assert theirs != ours


@pytest.mark.parametrize("name", ["score_y", "rn"])
def test_it_reserves_names(tmp_path: Path, name: str) -> None:
    """A feature may have any name here; there `rn` and names in `_y` vanish and the retrieval fails."""
    rows = history(("a", 1, 1, 10)).append_column(name, pa.array([7], pa.int64()))
    made = definitions(write(tmp_path / "p.parquet", rows), extra=(name,))
    refs = [f"purchases:{name}"]
    ours = DuckDBOfflineStore.get_historical_features(
        settings(tmp_path, "propensity.feast_duckdb.DuckDBOfflineStore"), [made], refs, frame(("a", 2)), REGISTRY, "t"
    )
    assert ours.to_arrow().column(name).to_pylist() == [7]
    with pytest.raises(Exception, match=name):  # ibis raises several kinds
        stock.DuckDBOfflineStore.get_historical_features(
            settings(tmp_path, "duckdb"), [made], refs, frame(("a", 2)), REGISTRY, "t"
        ).to_arrow()


def test_it_reads_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path starts at the repository here, as Feast documents; there at the working directory."""
    write(tmp_path / "repo/p.parquet", history(("a", 1, 1, 10)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    made = definitions(Path("p.parquet"))
    ours = DuckDBOfflineStore.get_historical_features(
        settings(tmp_path / "repo", "propensity.feast_duckdb.DuckDBOfflineStore"),
        [made], ["purchases:score"], frame(("a", 2)), REGISTRY, "t",
    )  # fmt: skip
    assert ours.to_arrow().column("score").to_pylist() == [10]
    with pytest.raises(Exception, match="No files found"):
        stock.DuckDBOfflineStore.get_historical_features(
            settings(tmp_path / "repo", "duckdb"), [made], ["purchases:score"], frame(("a", 2)), REGISTRY, "t"
        )


def test_it_rewrites_on_append(tmp_path: Path) -> None:
    """A directory gets a new file here, and there no append at all; a lone file both lengthen, here under a lock."""
    old = write(tmp_path / "rows/0.parquet", history(("a", 1, 1, 10)))
    before = old.stat().st_ino, old.read_bytes()
    ours = settings(tmp_path, "propensity.feast_duckdb.DuckDBOfflineStore")
    theirs = settings(tmp_path, "duckdb")
    new = history(("b", 2, 2, 20))
    DuckDBOfflineStore.offline_write_batch(ours, definitions(tmp_path / "rows"), new, None)
    assert (old.stat().st_ino, old.read_bytes()) == before
    assert pq.read_table(tmp_path / "rows").num_rows == 2
    with pytest.raises(Exception, match="rows"):
        stock.DuckDBOfflineStore.offline_write_batch(theirs, definitions(tmp_path / "rows"), new, None)
    for store, found in ((stock.DuckDBOfflineStore, theirs), (DuckDBOfflineStore, ours)):
        path = write(tmp_path / "p.parquet", history(("a", 1, 1, 10)))
        store.offline_write_batch(found, definitions(path), new, None)
        assert sorted(pq.read_table(path).column("score").to_pylist()) == [10, 20]


def test_environment_is_utc() -> None:
    """Both stores are compared under the zone that the platform runs in."""
    assert os.environ.get("TZ", "UTC") == "UTC"
