"""The options of scoring and of what is kept of it; `settings.py` has the others.

This module imports nothing of the package.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class ScoringSettings(BaseModel):
    """What scores, and what it keeps; see docs/scoring.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Literal["full", "top_k", "above_threshold", "compact"] = Field(
        "full",
        description="What a run keeps beside each customer's top categories: full vectors, nothing, the categories "
        "above a threshold, or full vectors in 12 bits a score.",
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="Least propensity that the output above_threshold keeps."
    )
    sparse_weights: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="What the weights of the model's sparse layers are held in while it scores: as they were trained, "
        "or rounded to 16 bits, which takes less time; see docs/forward_pass.md.",
    )
    engine: Literal["local", "spark"] = Field(
        "local", description="What scores: this machine's cores, or a Spark cluster that sees the home."
    )
    features_from: Literal["lake", "feast"] = Field(
        "lake",
        description="Where scoring reads features: the snapshot's files, or Feast, asked for the snapshot's customers.",
    )
    spark_master: str | None = Field(
        None, description="URL of Spark's master. None takes spark-submit's, else this machine's cores."
    )
    spark: dict[str, str] = Field(
        default_factory=dict, description='Options of Spark by their names, e.g. {"spark.executor.memory": "4g"}.'
    )


class RetentionSettings(BaseModel):
    """Which publications expire; never an as_of's newest, nor the one that is online. See docs/operations.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs_per_as_of: Annotated[int, Field(ge=1)] = Field(
        2, description="Most publications of an as_of that stay: the newest, and before it what a rollback needs."
    )
    max_age_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Days after which a publication expires that a newer one of its as_of has replaced."
    )
