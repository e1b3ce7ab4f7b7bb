"""Where the views read: the lake's tables, by one factory, for the offline store that the settings name."""

from feast import Field
from feast.data_source import DataSource
from feast.types import String, UnixTimestamp

import fields
from propensity import columns
from propensity.feast_duckdb import DuckDBSource


def lake_source(table: str, features: list[Field]) -> DataSource:
    """Return the source of a lake table of the configured region; before the first run it may have no files.

    Of two rows for the same instant the later run's wins: a rebuild is a new run beside the old one.
    """
    timestamps = {
        "timestamp_field": columns.EVENT_TIMESTAMP,
        "created_timestamp_column": columns.CREATED_TIMESTAMP,
    }
    if fields.settings.offline_store == "spark":
        from propensity.feast_spark import SparkLakeSource, spark_types  # noqa: PLC0415 - of a store that's optional

        keys = [Field(name=columns.CUSTOMER_ID, dtype=String)]
        instants = [Field(name=name, dtype=UnixTimestamp) for name in timestamps.values()]
        return SparkLakeSource(
            name=table,
            path=f"lake/{table}/region={fields.settings.region}/as_of=*/run=*/*.parquet",
            columns=spark_types([*keys, *instants, *features]),
            **timestamps,
        )
    # Columns come from the files and, where there is none yet, from the views.
    return DuckDBSource(
        name=table,
        path=f"lake/{table}/region={fields.settings.region}/*/*/*.parquet",
        allow_empty=True,
        **timestamps,
    )


sparse_sources = {
    family: lake_source(columns.feature_view(family), fields.sparse_vector) for family in columns.FAMILIES
}
label_source = lake_source(columns.CATEGORY_LABELS, fields.labels)
propensity_source = lake_source(columns.CATEGORY_PROPENSITY, [*fields.full_vectors, *fields.top_categories])
