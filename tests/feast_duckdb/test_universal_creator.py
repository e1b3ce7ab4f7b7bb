"""The DataSourceCreator for Feast's universal tests, driven here as they drive it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.types import Array, Float64, Int64, String, UnixTimestamp

from .universal.feast_duckdb_repo_configs import AVAILABLE_OFFLINE_STORES, DuckDBSourceCreator
from .views import hour

DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
VALUES = {
    "int": ([1, 2, 3], Int64),
    "float": ([1.0, None, 3.0], Float64),
    "string": (["a", None, "c"], String),
    "time": ([hour(1), hour(2), None], UnixTimestamp),
    "ints": ([[1, 2], None, []], Array(Int64)),
    "strings": ([["a"], [], None], Array(String)),
    "times": ([[hour(1)], [], None], Array(UnixTimestamp)),
    "nothing": ([None, None, None], String),
}


@pytest.fixture(params=["path", "table", "file"])
def creator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[DuckDBSourceCreator]:
    """Make a creator as Feast's fixtures do."""
    monkeypatch.setenv("UNIVERSAL_SOURCE", request.param)
    ((_, made),) = AVAILABLE_OFFLINE_STORES
    creator = made("project")
    yield creator
    creator.teardown()


@pytest.mark.parametrize("kind", VALUES)
def test_types_with_a_mapped_timestamp(creator: DuckDBSourceCreator, tmp_path: Path, kind: str) -> None:
    values, dtype = VALUES[kind]
    rows = pd.DataFrame({"driver_id": [1, 2, 3], "value": values, "ts_1": [hour(1)] * 3, "created_ts": [hour(1)] * 3})
    source = creator.create_data_source(rows, "values", field_mapping={"ts_1": "ts"})
    store = FeatureStore(
        config=RepoConfig(
            project="project",
            provider="local",
            registry=str(tmp_path / "registry.db"),
            online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
            offline_store=creator.create_offline_store_config(),
            repo_path=tmp_path,
            entity_key_serialization_version=3,
        )
    )
    schema = [Field(name="value", dtype=dtype), Field(name="driver_id", dtype=Int64)]
    view = FeatureView(name="stats", entities=[DRIVER], ttl=timedelta(days=1), schema=schema, source=source)
    store.apply([DRIVER, view])
    spine = pd.DataFrame({"driver_id": [3, 1, 2, 4], "ts": [hour(5)] * 4})
    got = store.get_historical_features(spine, ["stats:value"]).to_arrow().column("value")
    assert got.to_pylist() == [*(values[driver - 1] for driver in (3, 1, 2)), None]
    store.materialize(hour(0), hour(9))
    online = store.get_online_features(["stats:value"], [{"driver_id": 1}]).to_dict()["value"]
    assert online == [values[0]]
    written = pd.DataFrame({"driver_id": [4], "value": [values[0]], "ts_1": [hour(2)], "created_ts": [hour(2)]})
    store.write_to_offline_store("stats", written)
    got = store.get_historical_features(spine, ["stats:value"]).to_arrow().column("value")
    assert got[3].as_py() == values[0]
    assert not pa.types.is_null(got.type)
