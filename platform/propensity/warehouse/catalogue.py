"""The catalogue's tables: what exists, what it is called, and which runs made it.

The same metadata drives Alembic (`migrations/`); a test compares the two. The rows themselves live in the lake.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, DateTime, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Root of the catalogue's metadata."""

    type_annotation_map: ClassVar = {str: String, int: Integer, datetime: DateTime(timezone=True)}


class Region(Base):
    """A market with its own categories, models and runs."""

    __tablename__ = "regions"

    region: Mapped[str] = mapped_column(primary_key=True)
    timezone: Mapped[str]
    created_timestamp: Mapped[datetime]


class Category(Base):
    """A label category; its `category_index` is stable and never reused."""

    __tablename__ = "categories"
    __table_args__ = (UniqueConstraint("region", "category"),)

    region: Mapped[str] = mapped_column(primary_key=True)
    category_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    category: Mapped[str]
    first_event_timestamp: Mapped[datetime]


class Signal(Base):
    """A way of counting behaviour, as it was last built."""

    __tablename__ = "signals"

    region: Mapped[str] = mapped_column(primary_key=True)
    signal: Mapped[str] = mapped_column(primary_key=True)
    family: Mapped[str]
    key_kind: Mapped[str]
    category_aligned: Mapped[bool]


class Feature(Base):
    """A (signal, key) pair; its `feature_index` is stable and never reused."""

    __tablename__ = "features"
    __table_args__ = (UniqueConstraint("region", "signal", "key"),)

    region: Mapped[str] = mapped_column(primary_key=True)
    feature_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    family: Mapped[str]
    signal: Mapped[str]
    key: Mapped[str]
    category_index: Mapped[int]
    """The category of a category-aligned signal's feature, else -1."""


class Run(Base):
    """One import, build, training or scoring; `run_id` is derived from its inputs, so the same work is one run."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    region: Mapped[str]
    kind: Mapped[str]
    """import (of events), items, attributes, features, labels, training or scoring."""
    state: Mapped[str]
    """finished, published (scoring), superseded (an import replaced by another reading of its rows) or expired."""
    as_of: Mapped[datetime | None]
    rows: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float]
    created_timestamp: Mapped[datetime]
    detail: Mapped[str] = mapped_column()
    """JSON: what the run read and counted."""


class QuarantineCount(Base):
    """How many rows of an import were set aside for a reason; the rows are in the lake's `quarantine` table."""

    __tablename__ = "quarantine_counts"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    rows: Mapped[int] = mapped_column(BigInteger)


class ModelVersion(Base):
    """A trained model and its standing."""

    __tablename__ = "model_versions"

    region: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    """challenger (not judged yet), champion, retired or refused."""
    trained_as_of: Mapped[datetime]
    artifact: Mapped[str]
    """Path of the artifact directory, relative to the home directory."""
    metrics: Mapped[str] = mapped_column()
    created_timestamp: Mapped[datetime]


class GateDecision(Base):
    """A decision on a model's standing, with its numbers; rows are only ever added."""

    __tablename__ = "gate_decisions"

    region: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(primary_key=True)
    decided_timestamp: Mapped[datetime] = mapped_column(primary_key=True)
    verdict: Mapped[str]
    """promoted or forced (it became champion), shelved (it passed, but the champion is trained on later data),
    refused, withdrawn (rolled back from) or restored (rolled back to)."""
    window_as_of: Mapped[datetime | None]
    """Start of the label window it was judged on; null for a decision by hand."""
    previous_champion: Mapped[str | None]
    """Model version that was champion until this decision."""
    reason: Mapped[str]
    figures: Mapped[str]
    """JSON: the window's figures, every rule with value and bound, and the settings of the gate."""


class ModelCategory(Base):
    """Which category stands at which position of a model's propensity vectors."""

    __tablename__ = "model_categories"

    region: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    category_index: Mapped[int]
