"""A scoring run as its workers see it: what all its parts have in common.

Only values and paths, so that it can be handed to another process or machine, which opens the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from propensity import columns
from propensity.arrow_numpy import repeated_instant, repeated_text
from propensity.features.popularity import popularity
from propensity.features.snapshot_reader import read_rows, read_snapshot
from propensity.scoring.recycled_arrays import RecycledArrays
from propensity.scoring.scorer import Scorer
from propensity.warehouse.schemas import CLASS_PROPENSITY_SCHEMA, INSTANT, PROPENSITY_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propensity.features.snapshot import Snapshot
    from propensity.models.bfloat16 import WeightFormat
    from propensity.models.model import Model
    from propensity.scoring.feast_features import FeastFeatures
    from propensity.scoring.output_forms import OutputForm
    from propensity.scoring.parts import Part
    from propensity.settings import Settings

BATCH_VALUES: Final = 4_194_304
"""Scores held at once by a worker, at most; it rounds them, sorts them and makes copies."""
MOST_BATCH_ROWS: Final = 4_096
ROW_GROUP_BYTES: Final = 33_554_432
"""Of scores in a row group, before compression: what readers hold of a file, and writers twice."""


@dataclass(frozen=True)
class ScoringJob:
    """What the parts of a run have in common.

    Attributes:
        region: Market.
        run_id: Of the publication.
        created_timestamp: Of all its rows, also of those that a later process writes.
        snapshot: Whose customers are scored.
        artifact_sha256: The model's fingerprint.
        model_version: The model's name.
        n_categories: Of the model.
        n_classes: Of the model.
        top_k: Length of `top_categories`.
        output: What is kept of the scores.
        features: Of the snapshot's customers, where they aren't the snapshot's own.
        sparse_weights: What the weights of the model's sparse layers are held in.
    """

    region: str
    run_id: str
    created_timestamp: datetime
    snapshot: Snapshot
    artifact_sha256: str
    model_version: str
    n_categories: int
    n_classes: int
    top_k: int
    output: OutputForm
    features: FeastFeatures | None = None
    sparse_weights: WeightFormat = "float32"

    @property
    def batch_rows(self) -> int:
        """Rows scored at a time; bounds memory, changes no score."""
        if self.output.row_bytes(self.n_categories, self.n_classes) == 0:
            return MOST_BATCH_ROWS  # of scores no more than a block's are there at once
        return max(128, min(MOST_BATCH_ROWS, BATCH_VALUES // self.n_categories // 128 * 128))

    @property
    def row_group_rows(self) -> int:
        """Rows after which a row group ends, with the batch that reaches them."""
        return max(1, ROW_GROUP_BYTES // (self.output.row_bytes(self.n_categories, self.n_classes) + 8 * self.top_k))

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the files."""
        full = PROPENSITY_SCHEMA if self.n_classes == 2 else CLASS_PROPENSITY_SCHEMA
        return pa.schema([*full, *self.output.fields(self.n_classes)])

    @cached_property
    def _repeated(self) -> dict[str, pa.Array]:
        """The columns that say the same in all rows, for a whole batch."""
        n = self.batch_rows
        return {
            columns.CREATED_TIMESTAMP: repeated_instant(self.created_timestamp, n, INSTANT),
            columns.REGION: repeated_text(self.region, n),
            columns.MODEL_VERSION: repeated_text(self.model_version, n),
            columns.RUN_ID: repeated_text(self.run_id, n),
        }

    @cached_property
    def _new_array(self) -> RecycledArrays:
        return RecycledArrays()

    def open_scorer(self, settings: Settings, model: Model) -> Scorer:
        """Return a scorer with the snapshot's popularity as prior. Read-only.

        Raises:
            MissingSnapshotError: The popularity's file is gone from the lake.
        """
        shares = popularity(settings, self.snapshot, int(model.encoder.category_index[-1]) + 1)
        by_index = dict(enumerate(shares.tolist()))
        return Scorer(model, by_index, top_k=self.top_k, threads=1, sparse_format=self.sparse_weights)

    def read(self, settings: Settings, part: Part) -> Iterator[pa.RecordBatch]:
        """Yield the part's features in batches of `batch_rows`; raises as `read_snapshot`. Read-only."""
        if self.features is not None:
            return read_rows(self.features.file, self.batch_rows, part.rows)
        return read_snapshot(settings, self.snapshot, self.batch_rows, part.rows)

    def rows_of(self, scorer: Scorer, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Score a batch of `read` and return rows of the table, in `schema` and in the output form."""
        scored = scorer.score(batch, self.output, self._new_array)
        found = dict(zip(scored.schema.names, scored.columns, strict=True))
        found |= {name: column.slice(0, scored.num_rows) for name, column in self._repeated.items()}
        return pa.RecordBatch.from_arrays([found[name] for name in self.schema.names], schema=self.schema)
