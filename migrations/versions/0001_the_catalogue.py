"""the catalogue.

Revision ID: 0001
Revises:
Create Date: 2026-11-21 09:25:44.492858
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "categories",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("category_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("first_event_timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("region", "category_index"),
        sa.UniqueConstraint("region", "category"),
    )
    op.create_table(
        "features",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("feature_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("signal", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("category_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("region", "feature_index"),
        sa.UniqueConstraint("region", "signal", "key"),
    )
    op.create_table(
        "model_categories",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("category_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("region", "model_version", "position"),
    )
    op.create_table(
        "model_versions",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("trained_as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("artifact", sa.String(), nullable=False),
        sa.Column("metrics", sa.String(), nullable=False),
        sa.Column("created_timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("region", "model_version"),
    )
    op.create_table(
        "quarantine_counts",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "reason"),
    )
    op.create_table(
        "regions",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("created_timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("region"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created_timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "signals",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("signal", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("key_kind", sa.String(), nullable=False),
        sa.Column("category_aligned", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("region", "signal"),
    )


def downgrade() -> None:
    op.drop_table("signals")
    op.drop_table("runs")
    op.drop_table("regions")
    op.drop_table("quarantine_counts")
    op.drop_table("model_versions")
    op.drop_table("model_categories")
    op.drop_table("features")
    op.drop_table("categories")
