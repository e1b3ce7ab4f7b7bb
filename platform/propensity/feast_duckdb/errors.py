"""What can go wrong in this store, as a tree.

DuckDBStoreError
├── SourceDefinitionError    a source, storage or configuration that contradicts itself
├── SourceNotFoundError      nothing at a source's location
├── MissingColumnError       a file, table or query lacks a column that a definition names
├── UnsupportedSourceError   a source of another offline store
├── UnsupportedWriteError    a place that can't be appended to, or rows that don't fit it
├── DatabaseLockedError      a DuckDB file is held by somebody else for longer than we wait
└── EntityFrameError         an entity frame that can't be joined
"""

from __future__ import annotations

from collections.abc import Iterable


class DuckDBStoreError(Exception):
    """Base of every error raised by `propensity.feast_duckdb`."""


class SourceDefinitionError(DuckDBStoreError, ValueError):
    """A source, storage or configuration contradicts itself."""


class SourceNotFoundError(DuckDBStoreError, FileNotFoundError):
    """Nothing exists at a source's location."""


class MissingColumnError(DuckDBStoreError, ValueError):
    """A file, table or query lacks a column that a definition names."""

    def __init__(self, label: str, missing: Iterable[str], existing: Iterable[str], role: str = "") -> None:
        names = ", ".join(repr(name) for name in missing)
        suffix = f" ({role})" if role else ""
        super().__init__(
            f"{label} has no column {names}{suffix}. Existing columns: {', '.join(existing) or 'none'}. "
            "Correct the definition (field_mapping maps source columns to feature names) or the data."
        )


class UnsupportedSourceError(DuckDBStoreError, TypeError):
    """A source belongs to another offline store."""


class UnsupportedWriteError(DuckDBStoreError, ValueError):
    """A place can't be appended to, or the rows don't fit it."""


class DatabaseLockedError(DuckDBStoreError, TimeoutError):
    """A DuckDB file stayed locked for longer than `lock_timeout_seconds`."""


class EntityFrameError(DuckDBStoreError, ValueError):
    """An entity frame can't be joined to the requested views."""
