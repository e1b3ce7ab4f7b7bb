"""the gate's decisions.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-21 12:50:00.000000
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gate_decisions",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("decided_timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("window_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("previous_champion", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("figures", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("region", "model_version", "decided_timestamp"),
    )


def downgrade() -> None:
    op.drop_table("gate_decisions")
    # The version before knows no challengers: one that wasn't judged must not score there either.
    op.execute("UPDATE model_versions SET state = 'refused' WHERE state = 'challenger'")
