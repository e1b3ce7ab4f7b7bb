"""SparkLakeSource: a table of a lake's Parquet files, as a Feast data source that Spark reads."""

from __future__ import annotations

import glob
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.infra.offline_stores.offline_utils import get_temp_entity_table_name
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto

from propensity.feast_spark.errors import UnreadableSourceError

STORE = "propensity.feast_spark.store.SparkLakeOfflineStore"
# The path by which Feast finds the class again when it reads a registry; it must never change.
_CLASS_PATH = "propensity.feast_spark.SparkLakeSource"
_UTC = ("UTC", "Etc/UTC", "GMT", "Z", "+00:00")

# Feast asks a source for its SQL without saying for which repository; the store says it here, for its thread.
_reading: ContextVar[tuple[Any, Path]] = ContextVar("reading")


@contextmanager
def reading(session: Any, base_path: Path) -> Iterator[None]:
    """Let sources be read within the block, in a Spark session, their relative paths starting at `base_path`."""
    token = _reading.set((session, base_path))
    try:
        yield
    finally:
        _reading.reset(token)


def base_path_of(config: Any) -> Path:
    """Give the directory that relative source paths start from: `offline_store.base_path`.

    Raises:
        UnreadableSourceError: the repository has another offline store.
    """
    if not hasattr(config.offline_store, "spark_conf"):
        raise UnreadableSourceError(
            f"The definitions' sources are Spark's, and the offline store is {config.offline_store.type}. "
            f"Set offline_store.type to {STORE}."
        )
    base = Path(getattr(config.offline_store, "base_path", ".")).expanduser()
    return base if base.is_absolute() else Path(os.path.normpath(Path(config.repo_path).absolute() / base))


class SparkLakeSource(SparkSource):
    """Parquet files below the store's base path, read under a declared schema.

    Unlike Feast's SparkSource it keeps its path relative in the registry, may have no files yet, and doesn't turn
    `key=value` directories into columns. Files may differ in their columns: one that a file lacks is NULL there.

    Args:
        name: unique name in the project.
        path: a glob, relative to the store's base path.
        columns: Spark SQL's type of each column that is read, keys and timestamps included, by name.
        timestamp_field: when a row's values became true.
        created_timestamp_column: when a row was written; of rows with equal event time the newest wins.
        field_mapping, description, tags, owner: as for any Feast source.
    """

    def __init__(
        self,
        *,
        name: str,
        path: str,
        columns: Mapping[str, str],
        timestamp_field: str,
        created_timestamp_column: str = "",
        field_mapping: dict[str, str] | None = None,
        description: str | None = "",
        tags: dict[str, str] | None = None,
        owner: str | None = "",
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # Feast's, that its Spark sources are experimental
            super().__init__(
                name=name,
                path=path,
                file_format="parquet",
                timestamp_field=timestamp_field,
                created_timestamp_column=created_timestamp_column,
                field_mapping=field_mapping,
                description=description,
                tags=tags,
                owner=owner,
            )
        self.columns = dict(columns)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SparkLakeSource)
            and bool(super().__eq__(other))  # type: ignore[no-untyped-call]
            and self.columns == other.columns
        )

    def __hash__(self) -> int:
        return int(super().__hash__())  # type: ignore[no-untyped-call]

    def source_type(self) -> Any:
        """Feast's name for sources that come from plugins."""
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> SparkLakeSource:
        """Read the source from a registry; needs no pyspark."""
        return SparkLakeSource(
            name=data_source.name,
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
            **json.loads(data_source.custom_options.configuration),
        )

    def _to_proto_impl(self) -> DataSourceProto:
        configuration = json.dumps({"path": self.path, "columns": self.columns}).encode()
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS_PATH,
            field_mapping=self.field_mapping,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=configuration),
            description=self.description,
            tags=self.tags,
            owner=self.owner,
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
        )

    def validate(self, config: Any) -> None:
        """Check that the newest file, if there is any, has the timestamp columns. Reads its schema; starts no Spark.

        Raises:
            UnreadableSourceError: a timestamp column is absent, or the repository has another offline store.
        """
        files = self._files(base_path_of(config))
        if not files:
            return
        existing = pq.read_schema(files[-1]).names
        for column in filter(None, (self.timestamp_field, self.created_timestamp_column)):
            if column not in existing:
                raise UnreadableSourceError(
                    f"Source {self.name!r}: {files[-1]} has no column {column!r}. "
                    f"Existing columns: {', '.join(existing)}. Correct the definition or the data."
                )

    def get_table_column_names_and_types(self, config: Any) -> Iterable[tuple[str, str]]:
        """Give the declared columns and their types, in order."""
        del config
        return list(self.columns.items())

    def get_table_query_string(self) -> str:
        """Give the files that are there now as it would stand after FROM; a view of the session, unless there are none.

        Raises:
            UnreadableSourceError: Feast's own Spark store asks, or the session's time zone isn't UTC.

        Side effects: creates a temporary view; later files aren't in it.
        """
        try:
            session, base_path = _reading.get()
        except LookupError:
            raise UnreadableSourceError(
                f"Source {self.name!r} is read by {STORE} only. Set offline_store.type to it."
            ) from None
        zone = session.conf.get("spark.sql.session.timeZone")
        if zone not in _UTC:
            # Feast writes instants into its SQL without a zone, and means UTC.
            raise UnreadableSourceError(
                f"Spark's session is in the time zone {zone}, and Feast's Spark store works in UTC. "
                "Set spark.sql.session.timeZone to UTC."
            )
        files = self._files(base_path)
        if not files:
            columns = ", ".join(f"CAST(NULL AS {kind}) AS `{name}`" for name, kind in self.columns.items())
            return f"(SELECT {columns} WHERE false)"
        schema = ", ".join(f"`{name}` {kind}" for name, kind in self.columns.items())
        # Directories, each a root of its own: there are fewer than files, and Spark takes no column from their names.
        # With a scheme, since all machines see this file system under the same path, whatever Spark's default is.
        roots = sorted({f"file:{_escaped(str(file.parent))}" for file in files})
        rows = session.read.schema(schema).option("pathGlobFilter", Path(str(self.path)).name).parquet(*roots)
        view: str = get_temp_entity_table_name()
        rows.createOrReplaceTempView(view)
        return f"`{view}`"

    def _files(self, base_path: Path) -> list[Path]:
        return sorted(base_path / file for file in glob.glob(str(self.path), root_dir=base_path))  # noqa: PTH207


def _escaped(path: str) -> str:
    """Write a path so that Hadoop's globs take it literally."""
    return re.sub(r"([\\{}\[\]*?])", r"\\\1", path)
