"""Where the views read: the lake's tables, by one factory."""

from propensity import columns
from propensity.feast_duckdb import DuckDBSource
from propensity.settings import load_settings

settings = load_settings()


def lake_source(table: str) -> DuckDBSource:
    """Return the source of a lake table of the configured region; before the first run it may have no files."""
    return DuckDBSource(
        name=table,
        path=f"lake/{table}/region={settings.region}/*/*/*.parquet",
        timestamp_field=columns.EVENT_TIMESTAMP,
        # A rebuild is a new run beside the old one: of two rows for the same instant the later run's wins.
        created_timestamp_column=columns.CREATED_TIMESTAMP,
        allow_empty=True,
    )


sparse_sources = {family: lake_source(columns.feature_view(family)) for family in columns.FAMILIES}
label_source = lake_source(columns.CATEGORY_LABELS)
propensity_source = lake_source(columns.CATEGORY_PROPENSITY)
