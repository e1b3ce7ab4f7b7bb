"""Appending and persisting: new files and single transactions; only a source of one file is rewritten."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.file_source import FileSource
from pyarrow.fs import FileSystem

from propensity.feast_duckdb import dialect, location, types
from propensity.feast_duckdb.connection import Session, SessionSettings, open_session
from propensity.feast_duckdb.errors import UnsupportedWriteError
from propensity.feast_duckdb.opening import open_relation
from propensity.feast_duckdb.relation import Relation
from propensity.feast_duckdb.source import DuckDBSource
from propensity.feast_duckdb.whole_file import filled, lengthen, write_whole

_ROWS_PER_EXPORTED_FILE = 1_000_000


def append(settings: SessionSettings, source: DataSource, rows: pa.Table) -> None:
    """Append rows to a source: one new Parquet file, or one INSERT. Safe beside other writers and readers.

    A source that names one Parquet file can only have it replaced by a longer one, as Feast's own stores do. That
    costs as much as the file is long, and replaces what a program that isn't this store has written meanwhile.

    Args:
        settings: how to connect.
        source: a directory of Parquet files, a glob whose last part alone is a wildcard, a table, or one file.
        rows: columns named as in the source or as its field mapping names them, in any order.

    Raises:
        UnsupportedWriteError: the source can't be appended to, or the columns differ from its own.
        DatabaseLockedError: the database stayed locked.
    """
    with open_session(settings) as session:
        relation = open_relation(session, source) if _has_data(settings, source) else None
        schema = None
        if relation is not None and not relation.is_empty:
            schema = _known_schema(session, relation, source)
    fitted = _fitted(rows, schema, source)
    single = _single_file(settings, source)
    if isinstance(source, DuckDBSource) and source.table is not None:
        _insert(settings, source, fitted)
    elif single is not None:
        lengthen(single, fitted)
    else:
        write_new_file(_destination(settings, source), fitted)


def append_logs(settings: SessionSettings, source: DataSource, rows: pa.Table) -> None:
    """Append feature logs to a directory of Parquet files or to a table, which the first flush creates.

    Raises:
        UnsupportedWriteError: the place is a single file.
    """
    if isinstance(source, DuckDBSource) and source.table is not None:
        _insert(settings, source, types.conform(rows, types.boundary_schema(rows.schema, tuple(rows.column_names))))
    else:
        write_new_file(_destination(settings, source), rows)


def export(directory: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> list[str]:
    """Write record batches as Parquet files of about a million rows in a new directory.

    Args:
        directory: absolute path, or a URL that pyarrow can write.

    Returns:
        the files, named as `directory` is.
    """
    target = f"{directory.rstrip('/')}/{uuid.uuid4().hex}"
    filesystem, root = FileSystem.from_uri(target if location.is_remote(target) else Path(target).as_uri())
    filesystem.create_dir(root, recursive=True)
    files: list[str] = []
    writer: pq.ParquetWriter | None = None
    rows = 0
    try:
        for batch in batches:
            if writer is None or rows >= _ROWS_PER_EXPORTED_FILE:
                if writer is not None:
                    writer.close()
                file_name, rows = f"part-{len(files):05d}.parquet", 0
                writer = pq.ParquetWriter(f"{root}/{file_name}", schema, filesystem=filesystem, compression="zstd")
                files.append(f"{target}/{file_name}")
            writer.write_batch(batch)
            rows += batch.num_rows
    finally:
        if writer is not None:
            writer.close()
    return files


def write_new_file(directory: Path, rows: pa.Table) -> Path:
    """Add a Parquet file under a new name that sorts by time; it appears whole, by a rename."""
    file_name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{uuid.uuid4().hex}.parquet"
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / file_name
    write_whole(target, rows.schema, iter(rows.to_batches()))
    return target


def write_partitioned(settings: SessionSettings, directory: Path, rows: pa.Table, partition_by: list[str]) -> None:
    """Add new Parquet files under `column=value` directories; the columns stay in the files, too."""
    directory.mkdir(parents=True, exist_ok=True)
    staging = directory / f".{uuid.uuid4().hex}.tmp"
    columns = ", ".join(dialect.name(column) for column in partition_by)
    try:
        with open_session(settings) as session:
            session.register("rows", rows)
            session.execute(
                f"COPY (SELECT * FROM rows) TO {dialect.text(str(staging))} (FORMAT parquet, "
                f"PARTITION_BY ({columns}), WRITE_PARTITION_COLUMNS true, FILENAME_PATTERN '{{uuid}}')"
            )
        for file in sorted(staging.rglob("*.parquet")):
            target = directory / file.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def persist(
    settings: SessionSettings,
    target: DataSource,
    batches: Callable[[], Iterator[pa.RecordBatch]],
    table: Callable[[], pa.Table],
    *,
    allow_overwrite: bool,
) -> None:
    """Write a result to a saved dataset's place, all of it or nothing.

    Args:
        settings: how to connect.
        target: FileSource or DuckDBSource that will read it.
        batches, table: give the result, streamed or at once.
        allow_overwrite: whether to replace what is there.

    Raises:
        SavedDatasetLocationAlreadyExists: something is there, and `allow_overwrite` is False.
    """
    if isinstance(target, DuckDBSource) and target.table is not None:
        # The result is taken first: its own sources may lie in the same database, opened read-only.
        _create_table(settings, target, table(), allow_overwrite=allow_overwrite)
        return
    place = _place(settings, target)
    if place.exists() and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    stream = batches()
    first = next(stream, None)
    if first is None:
        rows = table()
        schema, stream = rows.schema, iter(rows.to_batches())
    else:
        schema, stream = first.schema, _chain(first, stream)
    if place.suffix == ".parquet":
        write_whole(place, schema, stream)
        return
    staging = place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
    staging.mkdir()
    write_whole(staging / "part-0.parquet", schema, stream)
    old = place.with_name(f".{place.name}.{uuid.uuid4().hex}.old")
    if place.exists():
        place.rename(old)
    staging.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _place(settings: SessionSettings, source: DataSource) -> Path:
    path = source.path if isinstance(source, (DuckDBSource, FileSource)) else None
    if path is None or location.is_remote(path):
        raise UnsupportedWriteError(f"{source.name!r} is no local path or table, so nothing can be written there.")
    return Path(location.absolute(_base(settings, source), path))


def _base(settings: SessionSettings, source: DataSource) -> Path:
    return settings.repo_path if isinstance(source, FileSource) else settings.base_path


def _single_file(settings: SessionSettings, source: DataSource) -> Path | None:
    if isinstance(source, DuckDBSource) and source.path is None:
        return None
    place = _place(settings, source)
    if location.has_wildcard(str(place)) or place.is_dir():
        return None
    return place if place.suffix == ".parquet" or place.is_file() else None


def _destination(settings: SessionSettings, source: DataSource) -> Path:
    place = _place(settings, source)
    if isinstance(source, DuckDBSource) and source.hive_partitioning:
        raise UnsupportedWriteError(
            f"{source.name!r} is hive-partitioned, and rows don't say which directory of {place} is theirs. "
            "Write Parquet files into its column=value directories yourself, or name a directory without partitions."
        )
    if location.has_wildcard(str(place)):
        if location.has_wildcard(str(place.parent)) or not fnmatch("20200101T000000000000Z-0.parquet", place.name):
            raise UnsupportedWriteError(
                f"{source.name!r} reads {place}, where a new file has no certain place. "
                "Point the source at a directory, or at a glob such as directory/*.parquet."
            )
        return place.parent
    if place.suffix == ".parquet" or place.is_file():
        raise UnsupportedWriteError(
            f"{source.name!r} is the single file {place}, which each flush would rewrite. Name a directory."
        )
    return place


def _has_data(settings: SessionSettings, source: DataSource) -> bool:
    if isinstance(source, DuckDBSource) and source.query is not None:
        raise UnsupportedWriteError(f"{source.name!r} is a query, so nothing can be written there.")
    if isinstance(source, DuckDBSource) and source.table is not None:
        return True
    single = _single_file(settings, source)
    if single is not None:
        return single.is_file()
    place = _destination(settings, source)
    return place.is_dir() and any(place.rglob("*.parquet"))


def _known_schema(session: Session, relation: Relation, source: DataSource) -> pa.Schema:
    """Give a source's types; a column that holds nothing but nulls in every file has the null type."""
    schema = session.schema(f"SELECT * FROM {relation.from_sql}", relation.context)
    path = source.path if isinstance(source, (DuckDBSource, FileSource)) else None
    if path is None:
        return schema
    files = location.parquet_files(_base(session.settings, source), path)
    untyped = session.execute(
        f"SELECT name FROM parquet_schema({dialect.text_list(files)}) "
        "GROUP BY name HAVING bool_and(coalesce(logical_type, '') = 'NullType()')"
    ).fetchall()
    nulls = {row[0] for row in untyped}  # DuckDB reads them as INTEGER
    return pa.schema([field.with_type(pa.null()) if field.name in nulls else field for field in schema])


def _fitted(rows: pa.Table, schema: pa.Schema | None, source: DataSource) -> pa.Table:
    raw = {mapped: column for column, mapped in source.field_mapping.items()}
    rows = rows.rename_columns([raw.get(column, column) for column in rows.column_names])
    if DUMMY_ENTITY_ID in rows.column_names and (schema is None or DUMMY_ENTITY_ID not in schema.names):
        rows = rows.drop_columns([DUMMY_ENTITY_ID])
    if schema is None:
        times = [raw.get(time, time) for time in (source.timestamp_field, source.created_timestamp_column) if time]
        missing = [time for time in times if time not in rows.column_names]
        if missing:
            raise UnsupportedWriteError(f"Rows for {source.name!r} lack its timestamp columns {missing}.")
        schema = rows.schema
    names = tuple(schema.names)
    if sorted(names) != sorted(rows.column_names):
        raise UnsupportedWriteError(
            f"Rows for {source.name!r} have the columns {', '.join(rows.column_names)}, "
            f"but the source has {', '.join(names)}."
        )
    rows = rows.select(list(names))
    # Nulls alone don't settle a type, so that a struct may come later.
    chosen = map(filled, schema.types, rows.schema.types)
    kinds = [kind if pa.types.is_null(kind) else types.boundary_type(kind) for kind in chosen]
    try:
        return types.conform(rows, pa.schema(list(zip(names, kinds, strict=True))))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnsupportedWriteError(f"Rows for {source.name!r} don't fit its types: {error}") from error


def _insert(settings: SessionSettings, source: DuckDBSource, rows: pa.Table) -> None:
    with open_session(settings) as session:
        alias = session.attach(location.absolute(settings.base_path, source.database or ""), read_only=False)
        session.register("rows", rows)
        table = f"{dialect.name(alias)}.{dialect.qualified(source.table or '')}"
        session.execute(f"CREATE TABLE IF NOT EXISTS {table} AS SELECT * FROM rows LIMIT 0")
        session.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows")


def _create_table(settings: SessionSettings, target: DuckDBSource, rows: pa.Table, *, allow_overwrite: bool) -> None:
    with open_session(settings) as session:
        path = Path(location.absolute(settings.base_path, target.database or ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        alias = session.attach(str(path), read_only=False)
        session.register("rows", rows)
        verb = "CREATE OR REPLACE TABLE" if allow_overwrite else "CREATE TABLE"
        table = f"{dialect.name(alias)}.{dialect.qualified(target.table or '')}"
        try:
            session.execute(f"{verb} {table} AS SELECT * FROM rows")
        except duckdb.CatalogException as error:
            raise SavedDatasetLocationAlreadyExists(location=f"{target.table} in {path}") from error
