"""Opening any data source that this store reads: its own, and Feast's FileSource on Parquet."""

from __future__ import annotations

from feast.data_format import ParquetFormat
from feast.data_source import DataSource, PushSource
from feast.infra.offline_stores.file_source import FileSource

from propensity.feast_duckdb import location
from propensity.feast_duckdb.connection import Session
from propensity.feast_duckdb.errors import UnsupportedSourceError
from propensity.feast_duckdb.relation import Relation, relation_of_files
from propensity.feast_duckdb.source import DuckDBSource


def open_relation(session: Session, source: DataSource) -> Relation:
    """Find a source's data and read its schema.

    Args:
        session: where database files get attached.
        source: DuckDBSource, Feast's FileSource with Parquet files, or a PushSource on one of them.

    Raises:
        SourceNotFoundError: there is nothing at its location.
        UnsupportedSourceError: the source is of another kind, or has options that this store doesn't read.
    """
    if isinstance(source, PushSource) and source.batch_source is not None:
        return open_relation(session, source.batch_source)
    if isinstance(source, DuckDBSource):
        return source.open(session)
    if not isinstance(source, FileSource):
        raise UnsupportedSourceError(
            f"{type(source).__name__} {getattr(source, 'name', '')!r} can't be read by the DuckDB offline "
            "store. Use DuckDBSource, or FileSource with Parquet files."
        )
    if not (source.file_format is None or isinstance(source.file_format, ParquetFormat)):
        raise UnsupportedSourceError(
            f"FileSource {source.name!r} has the format {type(source.file_format).__name__}; this store reads Parquet. "
            "Export the table to Parquet, or use another offline store."
        )
    if source.s3_endpoint_override:
        raise UnsupportedSourceError(
            f"FileSource {source.name!r} sets s3_endpoint_override, which this store doesn't read. Remove it, and give "
            "DuckDB the endpoint: CREATE PERSISTENT SECRET (TYPE s3, ENDPOINT …)."
        )
    # Feast resolves a FileSource against the repository, whatever base_path is.
    return relation_of_files(session, source.path, location.parquet_files(session.settings.repo_path, source.path))
