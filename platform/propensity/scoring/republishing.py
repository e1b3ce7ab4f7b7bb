"""Publishing an older run again, as the newest of its as_of: how a publication is rolled back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.errors import PublicationError, UnknownRunError, did_you_mean
from propensity.progress import Progress, silent
from propensity.scoring.expiring import Expiry, expire_by_retention, run_as_of
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.lake import Lake
from propensity.warehouse.publications import (
    EXPIRED,
    PUBLISHED,
    SCORING_RUN,
    created_after,
    created_timestamp,
    directory_of,
    newest_publication,
    row_count,
)
from propensity.warehouse.region_lock import SCORING, alone_in_region
from propensity.warehouse.runs import RunRecord, fingerprint, list_runs, record_run
from propensity.warehouse.sql_views import refresh_views

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from propensity.settings import Settings

_BATCH_ROWS: Final = 4096
_GROUP_BYTES: Final = 64 << 20
"""Of a row group, uncompressed: what copying holds in memory."""
_CODECS: Final = {"UNCOMPRESSED": "NONE"}
"""What pyarrow's writer calls a codec, where its reader calls it otherwise."""
_ORIGIN: Final = "republished_from"


@dataclass(frozen=True)
class Republication:
    """A run that was published again.

    Attributes:
        run: The newest publication of the as_of, with the rows of the run that was asked for.
        already_newest: It was that before.
        retention: What expired afterwards.
    """

    run: RunRecord
    already_newest: bool
    retention: Expiry = field(default_factory=Expiry)


def republish(settings: Settings, run_id: str, progress: Progress = silent) -> Republication:
    """Publish a run's rows again as the newest of its as_of.

    Feast takes of two rows for the same instant the one created later, so the rows are written anew, as a run of its
    own with a new `created_timestamp`; the run itself stays as it was. The model isn't rolled back by this.

    Raises:
        UnknownRunError: The region has no such scoring run.
        PublicationError: It has expired, or its files are lost.
        WarehouseLockedError: Another process is publishing in this region.

    Side effects: one run in the lake's `category_propensity`, whole or not at all, and its record, which publishes it;
    the SQL views; what the retention settings let expire. Where the newest publication has these rows, nothing changes.
    """
    with alone_in_region(settings, SCORING):
        started = time.monotonic()
        old = _scoring_run(settings, run_id)
        assert old.as_of is not None  # a scoring run has one
        newest = newest_publication(settings, old.as_of)
        origin = _origin(old)
        if newest is not None and _origin(newest) == origin and _has_files(settings, newest):
            return Republication(newest, already_newest=True, retention=expire_by_retention(settings))
        _check_there(settings, old)
        lake, source = Lake(settings.lake), directory_of(settings, old)
        new_id = f"scoring-{fingerprint(_ORIGIN, origin, newest and newest.run_id)}"
        # It is there already where a republication was killed before it was recorded.
        if not lake.has_run(columns.CATEGORY_PROPENSITY, settings.region, new_id, old.as_of):
            with lake.new_run(columns.CATEGORY_PROPENSITY, settings.region, new_id, old.as_of) as target:
                _copy(source, target, new_id, created_after(newest), progress)
        target = lake.run_directory(columns.CATEGORY_PROPENSITY, settings.region, new_id, old.as_of)
        said_of_old = {name: value for name, value in old.detail.items() if not name.startswith("online")}
        run = RunRecord(
            new_id,
            settings.region,
            SCORING_RUN,
            PUBLISHED,
            old.as_of,
            row_count(target),
            time.monotonic() - started,
            created_timestamp(target),
            said_of_old | {_ORIGIN: origin},
        )
        refresh_views(settings)
        with catalogue_session(settings) as session:
            record_run(session, run)
        return Republication(run, already_newest=False, retention=expire_by_retention(settings))


def _origin(run: RunRecord) -> str:
    return str(run.detail.get(_ORIGIN, run.run_id))


def _scoring_run(settings: Settings, run_id: str) -> RunRecord:
    scorings = {run.run_id: run for run in list_runs(settings, kind=SCORING_RUN)}
    if run_id not in scorings:
        raise UnknownRunError(
            f"Unknown scoring run {run_id!r}.{did_you_mean(run_id, scorings)} See: propensity runs list --kind scoring"
        )
    return scorings[run_id]


def _check_there(settings: Settings, run: RunRecord) -> None:
    if run.state == EXPIRED or not _has_files(settings, run):
        what = "has expired" if run.state == EXPIRED else f"has no files in {directory_of(settings, run)}"
        raise PublicationError(
            f"Run {run.run_id} {what}. Score again with its model: propensity score --as-of {run_as_of(run)} "
            f"--model {run.detail.get('model_version', 'VERSION')}"
        )


def _has_files(settings: Settings, run: RunRecord) -> bool:
    return any(directory_of(settings, run).glob("*.parquet"))


def _copy(source: Path, target: Path, run_id: str, created: datetime, progress: Progress) -> None:
    """Copy the Parquet files of a run row by row under another run id and creation time, encoded as they were."""
    rows, done = row_count(source), 0
    for file in sorted(source.glob("*.parquet")):
        with (
            pq.ParquetFile(file, pre_buffer=False) as parquet,
            pq.ParquetWriter(target / file.name, parquet.schema_arrow, **_encoding(parquet.metadata)) as writer,
        ):
            for group in _groups(parquet):
                instant = pa.scalar(created, group.schema.field(columns.CREATED_TIMESTAMP).type)
                renewed = {
                    columns.CREATED_TIMESTAMP: pa.repeat(instant, group.num_rows),
                    columns.RUN_ID: pa.repeat(pa.scalar(run_id), group.num_rows),
                }
                arrays = [renewed.get(name, group.column(name)) for name in group.schema.names]
                writer.write_table(pa.Table.from_arrays(arrays, schema=group.schema))
                done += group.num_rows
                progress("republishing", done, rows)


def _groups(parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    gathered: list[pa.RecordBatch] = []
    for batch in parquet.iter_batches(_BATCH_ROWS):
        gathered.append(batch)
        if sum(part.nbytes for part in gathered) >= _GROUP_BYTES:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered)


def _encoding(metadata: pq.FileMetaData) -> dict[str, Any]:
    """Return the writer's options that encode each column as the file's first row group has it."""
    if metadata.num_row_groups == 0:
        return {}
    group = metadata.row_group(0)
    chunks = [group.column(place) for place in range(group.num_columns)]
    dictionary = [chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page]
    return {
        "compression": {chunk.path_in_schema: _CODECS.get(chunk.compression, chunk.compression) for chunk in chunks},
        "use_dictionary": dictionary or False,
        "use_byte_stream_split": [chunk.path_in_schema for chunk in chunks if "BYTE_STREAM_SPLIT" in chunk.encodings]
        or False,
    }
