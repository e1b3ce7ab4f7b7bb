"""SparkLakeSource and the setting that chooses it, as far as they go without Spark."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.data_source import DataSource
from feast.type_map import spark_to_feast_value_type
from feast.value_type import ValueType

from propensity.api import Platform
from propensity.errors import RuntimeMissingError, SettingsError
from propensity.feast_spark import SparkLakeSource, UnreadableSourceError
from propensity.feast_spark.source import reading
from propensity.settings import load_settings
from propensity.warehouse import schemas
from tests import shop

COLUMNS = {"customer_id": "string", "event_timestamp": "timestamp", "created_timestamp": "timestamp"}


def source(**options: object) -> SparkLakeSource:
    return SparkLakeSource(
        **{
            "name": "rows",
            "path": "rows/*.parquet",
            "columns": COLUMNS,
            "timestamp_field": "event_timestamp",
            "created_timestamp_column": "created_timestamp",
        }
        | options
    )


def test_a_registry_gives_the_source_back():
    one = source(description="of the lake", tags={"owner": "us"}, field_mapping={"a": "b"})
    again = DataSource.from_proto(one.to_proto())
    assert isinstance(again, SparkLakeSource)
    assert again == one
    assert list(again.columns) == list(COLUMNS)  # in order
    for other in (source(), source(path="others/*.parquet"), source(columns=COLUMNS | {"more": "int"})):
        assert other != one
    assert source(columns=COLUMNS | {"more": "int"}) != source()


def test_without_spark_the_error_says_how_to_get_it(finished_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    platform = Platform(shop.settings_of(finished_home, offline_store="spark"))
    for action in (platform.apply, platform.feature_store):
        with pytest.raises(RuntimeMissingError, match=r"make spark"):
            action()


def test_the_command_says_it_in_a_line(finished_home):
    code = "import sys; sys.modules['pyspark'] = None; from propensity.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "apply"],
        env=shop.environment(finished_home, PROPENSITY_OFFLINE_STORE="spark"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "make spark" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_store_is_refused():
    with pytest.raises(SettingsError, match=r"offline_store"):
        load_settings(offline_store="flink")


def config(tmp_path, **offline_store):
    return SimpleNamespace(repo_path=tmp_path, offline_store=SimpleNamespace(**offline_store))


def test_definitions_for_spark_in_a_repository_of_another_store_are_refused(tmp_path):
    with pytest.raises(UnreadableSourceError, match=r"offline store is other\. Set offline_store\.type to propensity"):
        source().validate(config(tmp_path, type="other"))


def test_a_source_may_have_no_files_but_not_files_without_its_timestamps(tmp_path):
    spark = config(tmp_path, type="spark", spark_conf=None, base_path=".")
    source().validate(spark)
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table({"customer_id": ["a"]}), tmp_path / "rows" / "0.parquet")
    with pytest.raises(UnreadableSourceError, match=r"no column 'event_timestamp'\. Existing columns: customer_id"):
        source().validate(spark)


def test_feasts_own_spark_store_is_told_apart():
    with pytest.raises(UnreadableSourceError, match=r"read by propensity\.feast_spark\.store\.SparkLakeOfflineStore"):
        source().get_table_query_string()


def test_a_session_in_another_time_zone_is_refused(tmp_path):
    session = SimpleNamespace(conf=SimpleNamespace(get=lambda name: "America/New_York"))
    with (
        reading(session, tmp_path),
        pytest.raises(UnreadableSourceError, match=r"America/New_York.* Set spark\.sql\.session\.timeZone to UTC"),
    ):
        source().get_table_query_string()


def test_the_definitions_read_columns_that_the_lake_has():
    code = """if True:
        import json, sys
        sys.path.insert(0, sys.argv[1])
        import data_sources
        sources = [*data_sources.sparse_sources.values(), data_sources.label_source, data_sources.propensity_source]
        print(json.dumps({source.name: [source.path, source.columns] for source in sources}))
        assert "pyspark" not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(shop.ROOT / "feature_repo")],
        env=shop.environment(shop.ROOT, PROPENSITY_OFFLINE_STORE="spark", PROPENSITY_REGION="uk-north"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sources = json.loads(done.stdout)
    assert len(sources) == 6
    for name, (path, columns) in sources.items():
        assert path == f"lake/{name}/region=uk-north/as_of=*/run=*/*.parquet"
        schema = {"category_labels": schemas.LABEL_SCHEMA, "category_propensity": schemas.PROPENSITY_SCHEMA}.get(
            name, schemas.FEATURE_SCHEMA
        )
        assert set(columns) == set(schema.names) - {"region", "run_id"}
        for column, kind in columns.items():
            assert spark_to_feast_value_type(kind) == FEAST[str(schema.field(column).type)]


FEAST = {
    "string": ValueType.STRING,
    "timestamp[us, tz=UTC]": ValueType.UNIX_TIMESTAMP,
    "list<item: int32>": ValueType.INT32_LIST,
    "list<item: float>": ValueType.FLOAT_LIST,
}
