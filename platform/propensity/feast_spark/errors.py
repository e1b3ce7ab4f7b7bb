"""What can go wrong in this store, as a tree.

SparkStoreError
├── UnreadableSourceError    a source's files or the Spark session aren't what its definition needs
├── UnsupportedSourceError   a source of another offline store
└── UnsupportedWriteError    the lake is written by those who own it
"""

from __future__ import annotations


class SparkStoreError(Exception):
    """Base of every error raised by `propensity.feast_spark`."""


class UnreadableSourceError(SparkStoreError, ValueError):
    """A source can't be read: its files lack a column, or the session or store isn't one that can read it."""


class UnsupportedSourceError(SparkStoreError, TypeError):
    """A source belongs to another offline store."""


class UnsupportedWriteError(SparkStoreError, ValueError):
    """The store doesn't write to its sources."""
