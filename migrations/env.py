"""Alembic's entry point: migrates the catalogue of the configured home directory."""

from __future__ import annotations

from alembic import context

from propensity.settings import load_settings
from propensity.warehouse.catalogue import Base
from propensity.warehouse.catalogue_session import catalogue_engine, when_unlocked

settings = context.config.attributes.get("settings") or load_settings()
settings.home.mkdir(parents=True, exist_ok=True)
engine = catalogue_engine(settings.warehouse)

with when_unlocked(engine.connect, settings) as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
