"""One DuckDB connection per job: in memory, in UTC, with database files attached for as long as it lives."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from propensity.feast_duckdb import location
from propensity.feast_duckdb.dialect import name, text
from propensity.feast_duckdb.errors import DatabaseLockedError, SourceNotFoundError

_LOCK_SIGNS = ("Could not set lock on file", "Unique file handle conflict", "different configuration")
_RETRY_SECONDS = 0.05


@dataclass(frozen=True)
class SessionSettings:
    """What a connection needs of `offline_store` in feature_store.yaml; see DuckDBOfflineStoreConfig."""

    base_path: Path
    repo_path: Path
    temp_directory: Path
    memory_limit: str | None = None
    threads: int | None = None
    lock_timeout_seconds: float = 10.0
    staging_location: str | None = None

    @classmethod
    def of(cls, config: Any) -> SessionSettings:
        """Read the settings from a Feast RepoConfig."""
        store = config.offline_store
        base = location.base_path(config)
        temp_directory = getattr(store, "temp_directory", None)
        staging = getattr(store, "staging_location", None)
        return cls(
            base_path=base,
            # A repository without a path can still be read through an absolute base_path.
            repo_path=base if config.repo_path is None else location.repo_path(config),
            temp_directory=Path(location.absolute(base, temp_directory or tempfile.gettempdir())),
            memory_limit=getattr(store, "memory_limit", None),
            threads=getattr(store, "threads", None),
            lock_timeout_seconds=getattr(store, "lock_timeout_seconds", 10.0),
            staging_location=None if staging is None else location.absolute(base, staging),
        )


class Session:
    """An open connection, and the statements that would bring another DuckDB to the same state.

    Attributes:
        connection: the DuckDB connection; used by one thread at a time.
        preamble: statements executed so far that a later query depends on.
        frames: registered Arrow tables by name.
        settings: what it was opened with.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: SessionSettings) -> None:
        self.connection = connection
        self.settings = settings
        self.preamble: list[str] = ["SET TimeZone = 'UTC'"]
        self.frames: dict[str, pa.Table] = {}
        self._aliases: dict[str, str] = {}

    def register(self, view: str, rows: pa.Table) -> None:
        """Let queries read an Arrow table by name, without a copy."""
        self.connection.register(view, rows)
        self.frames[view] = rows

    def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run one statement."""
        return self.connection.execute(sql)

    @contextmanager
    def on_one_thread(self) -> Iterator[None]:
        """Run statements that are a single task on the calling thread alone.

        DuckDB's caller polls, without a pause, while another thread works on what it waits for: a task that can't be
        shared would cost its CPU time twice.
        """
        threads = self.execute("SELECT current_setting('threads')").fetchall()[0][0]
        self.execute("SET threads = 1")
        try:
            yield
        finally:
            self.execute(f"SET threads = {threads}")

    def describe(self, sql: str, context: str | None = None) -> dict[str, str]:
        """Give a query's column names and DuckDB types, in order.

        Args:
            sql: a SELECT.
            context: alias of the database in which unqualified names are looked up.
        """
        with self.within(context):
            return {row[0]: row[1] for row in self.execute(f"DESCRIBE {sql}").fetchall()}

    def schema(self, sql: str, context: str | None = None) -> pa.Schema:
        """Give a query's Arrow schema without running it."""
        with self.within(context):
            return self.execute(f"SELECT * FROM ({sql}) LIMIT 0").to_arrow_table().schema

    @contextmanager
    def within(self, context: str | None) -> Iterator[None]:
        """Look unqualified names up in an attached database for a while."""
        if context is None:
            yield
            return
        self.execute(f"USE {name(context)}")
        try:
            yield
        finally:
            self.execute("USE memory")

    def attach(self, path: str, *, read_only: bool = True) -> str:
        """Attach a database file, waiting while somebody else holds it, and give its alias.

        Args:
            path: absolute path of a DuckDB file.
            read_only: a file that doesn't exist is created only when False.

        Raises:
            SourceNotFoundError: there is no such file.
            DatabaseLockedError: it stayed locked for `lock_timeout_seconds`.
        """
        if path in self._aliases:
            return self._aliases[path]
        if read_only and not Path(path).exists():
            raise SourceNotFoundError(f"There is no DuckDB database at {path}.")
        alias = f"feast_db_{len(self._aliases)}"
        statement = f"ATTACH {text(path)} AS {name(alias)}{' (READ_ONLY)' if read_only else ''}"
        self._retry(statement, path)
        self._aliases[path] = alias
        self.preamble.append(statement)
        return alias

    def _retry(self, statement: str, path: str) -> None:
        deadline = time.monotonic() + self.settings.lock_timeout_seconds
        while True:
            try:
                self.execute(statement)
            except duckdb.Error as error:
                if not any(sign in str(error) for sign in _LOCK_SIGNS):
                    raise
                if time.monotonic() >= deadline:
                    raise DatabaseLockedError(_locked_message(path, str(error), self.settings)) from error
                time.sleep(_RETRY_SECONDS)
            else:
                return


def _locked_message(path: str, cause: str, settings: SessionSettings) -> str:
    holder = (
        "another process holds it"
        if _LOCK_SIGNS[0] in cause
        else "a connection in this process holds it (a duckdb.connect() or a write that is still open)"
    )
    return (
        f"The DuckDB database {path} stayed locked for {settings.lock_timeout_seconds:g} s: {holder}. "
        f"DuckDB says: {cause.splitlines()[0]} Close that connection, open it read-only, "
        "or raise offline_store.lock_timeout_seconds."
    )


@contextmanager
def open_session(settings: SessionSettings) -> Iterator[Session]:
    """Open a connection of its own for one job; it, its attachments and its spill files end with the block.

    Independent connections are what makes jobs safe to run from many threads. Each spills into a directory of
    its own, since DuckDB names spill files alike in every instance.
    """
    spill = settings.temp_directory / f"feast_duckdb_{uuid.uuid4().hex}"
    options: dict[str, Any] = {"python_enable_replacements": False, "temp_directory": str(spill)}
    if settings.memory_limit is not None:
        options["memory_limit"] = settings.memory_limit
    if settings.threads is not None:
        options["threads"] = settings.threads
    settings.temp_directory.mkdir(parents=True, exist_ok=True)  # DuckDB makes the last directory only
    connection = duckdb.connect(":memory:", config=options)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        # After two seconds DuckDB would draw its own bar into whatever the caller prints.
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET arrow_large_buffer_size = false")
        connection.execute("SET parquet_metadata_cache = true")
        connection.execute(f"SET file_search_path = {text(str(settings.base_path))}")
        yield Session(connection, settings)
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)
