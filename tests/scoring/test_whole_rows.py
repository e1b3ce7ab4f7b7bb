"""Files of full vectors, which polars writes, are to readers what pyarrow's are."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
import zlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity import columns
from propensity.features.snapshot import Snapshot
from propensity.features.vectors import lists_from_matrix
from propensity.scoring.job import ScoringJob
from propensity.scoring.manifests import Staging
from propensity.scoring.output_forms import OutputForm
from propensity.scoring.part_file import PartFile, now
from propensity.scoring.parts import Part
from propensity.scoring.streamed_rows import StreamedRows
from propensity.scoring.whole_rows import WholeRows
from tests import shop

AS_OF = datetime(2024, 8, 1, 4, tzinfo=UTC)
CREATED = datetime(2024, 8, 2, 10, 0, 0, 123456, tzinfo=UTC)
JOB = ScoringJob(
    region="us",
    run_id="scoring-1",
    created_timestamp=CREATED,
    snapshot=Snapshot(AS_OF, "features-1", 9_000),
    artifact_sha256="ab" * 32,
    model_version="v1",
    n_categories=1_100,
    n_classes=2,
    top_k=5,
    output=OutputForm("full"),
)
"""A batch is 3,712 customers, 16 MB of scores: a row group."""
OF_THREE_CLASSES = dataclasses.replace(JOB, n_categories=7, n_classes=3)
ROWS = 9_000


def rows_of(job: ScoringJob, first: int, n: int) -> pa.RecordBatch:
    """Return rows as `job.rows_of` gives them, of made-up scores."""
    rng = np.random.default_rng(first)
    scores = rng.random((n, job.n_categories), np.float32)
    found = {
        columns.CUSTOMER_ID: pa.array([f"c{number:06d}" for number in range(first, first + n)]),
        columns.EVENT_TIMESTAMP: pa.repeat(pa.scalar(AS_OF, pa.timestamp("us", "UTC")), n),
        columns.CREATED_TIMESTAMP: pa.repeat(pa.scalar(job.created_timestamp, pa.timestamp("us", "UTC")), n),
        columns.REGION: pa.repeat(job.region, n),
        columns.MODEL_VERSION: pa.repeat(job.model_version, n),
        columns.RUN_ID: pa.repeat(job.run_id, n),
        columns.PROPENSITIES: lists_from_matrix(scores),
        columns.TOP_CATEGORIES: lists_from_matrix(rng.integers(0, job.n_categories, (n, 5), np.int32)),
        columns.TOP_PROPENSITIES: lists_from_matrix(np.ascontiguousarray(scores[:, :5])),
        columns.CLASS_PROPENSITIES: lists_from_matrix(scores / 2),
    }
    return pa.RecordBatch.from_arrays([found[name] for name in job.schema.names], schema=job.schema)


def batches_of(job: ScoringJob, n_rows: int = ROWS) -> list[pa.RecordBatch]:
    starts = range(0, n_rows, job.batch_rows)
    return [rows_of(job, first, min(job.batch_rows, n_rows - first)) for first in starts]


def write(path, job, batches, kind=WholeRows):
    """Write the batches and return the file's size and sum, as the manifest would have them."""
    file = kind(path, job, 1)
    for batch in batches:
        file.add(batch, now)
    file.end()
    file.close()
    return file.written()


@pytest.fixture(scope="module", params=[JOB, OF_THREE_CLASSES], ids=["two classes", "three classes"])
def job(request):
    return request.param


@pytest.fixture(scope="module")
def files(job, tmp_path_factory):
    """The same rows by polars and by pyarrow, and the rows."""
    directory, batches = tmp_path_factory.mktemp("files"), batches_of(job)
    write(directory / "polars.parquet", job, batches)
    write(directory / "pyarrow.parquet", job, batches, StreamedRows)
    return directory / "polars.parquet", directory / "pyarrow.parquet", pa.Table.from_batches(batches)


def test_arrow_reads_the_same_types_and_rows(files, job):
    ours, peer, rows = files
    assert pq.read_schema(ours).equals(job.schema)
    assert [str(field) for field in pq.read_schema(ours)] == [str(field) for field in pq.read_schema(peer)]
    assert pq.read_table(ours).equals(rows)


def test_parquet_itself_has_the_same_types(files):
    """What those read who don't look at Arrow's schema, such as Spark: also that instants are UTC's."""
    ours, peer, _ = files
    theirs = [pq.ParquetFile(file).schema for file in (ours, peer)]
    leaves = [[schema.column(number) for number in range(len(schema))] for schema in theirs]
    told = [
        [(leaf.path, leaf.physical_type, str(leaf.logical_type), leaf.max_definition_level) for leaf in each]
        for each in leaves
    ]
    assert told[0] == told[1]
    instants = [kind for path, _, kind, _ in told[0] if path.endswith("timestamp")]
    assert len(instants) == 2
    assert all("isAdjustedToUTC=true, timeUnit=microseconds" in kind for kind in instants)


def test_duckdb_reads_the_same(files):
    ours, peer, _ = files
    described = [duckdb.sql(f"DESCRIBE FROM '{file}'").fetchall() for file in (ours, peer)]
    assert described[0] == described[1]
    assert duckdb.sql(f"FROM '{ours}' EXCEPT FROM '{peer}'").fetchall() == []
    query = f"SELECT created_timestamp, len(propensities) FROM '{ours}' WHERE customer_id = 'c008999'"
    ((created, _),) = duckdb.sql(query).fetchall()
    assert created == CREATED


def test_readers_can_skip_row_groups_by_customer(files, job):
    metadata = pq.read_metadata(files[0])
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == ([3_712, 3_712, 1_576] if job is JOB else [ROWS])
    first = 0
    for group in groups:
        customer_id = group.column(0)
        assert customer_id.path_in_schema == columns.CUSTOMER_ID
        assert customer_id.statistics.min == f"c{first:06d}"
        first += group.num_rows
        assert customer_id.statistics.max == f"c{first - 1:06d}"
        assert group.total_byte_size < 2**25
        assert {group.column(number).compression for number in range(group.num_columns)} == {"UNCOMPRESSED"}


def test_the_sum_is_the_files(tmp_path):
    written = write(tmp_path / "file", OF_THREE_CLASSES, batches_of(OF_THREE_CLASSES, 100))
    content = (tmp_path / "file").read_bytes()
    assert (written.size, written.crc32) == (len(content), zlib.crc32(content))


def test_no_customer_makes_a_file_without_rows(tmp_path, job):
    write(tmp_path / "file", job, [])
    found = pq.read_table(tmp_path / "file")
    assert found.num_rows == 0
    assert found.schema.equals(job.schema)


@pytest.mark.parametrize("job", [JOB, dataclasses.replace(JOB, output=OutputForm("top_k"))], ids=["full", "top_k"])
def test_a_part_that_comes_to_nothing_leaves_no_file(tmp_path, job):
    staging = Staging(tmp_path)
    staging.prepare(CREATED)
    attempts = tmp_path / "attempts"
    with closing(PartFile(staging, job, Part(0, range(10)))) as file:
        assert len(list(attempts.iterdir())) == 1  # seen while it is under way
        if job is JOB:
            file.add(rows_of(job, 0, 10), now)
    assert list(attempts.iterdir()) == list(staging.parts.iterdir()) == []


def test_a_part_that_cannot_be_put_in_its_place_leaves_no_file(tmp_path, monkeypatch):
    staging = Staging(tmp_path)
    staging.prepare(CREATED)
    monkeypatch.setattr(Staging, "take", lambda *_, **__: Path("/nowhere").rename("/elsewhere"))
    with closing(PartFile(staging, JOB, Part(0, range(10)))) as file:
        file.add(rows_of(JOB, 0, 10), now)
        with pytest.raises(FileNotFoundError):
            file.finish(now)
    assert list((tmp_path / "attempts").iterdir()) == list(staging.parts.iterdir()) == []


@pytest.mark.parametrize("n_rows", [10, 100_000], ids=["in the buffer", "beyond it"])
def test_what_the_system_refuses_is_an_error_of_its_kind(n_rows, tmp_path):
    """Polars tells a refused write in words of its own."""
    file = WholeRows(tmp_path / "file", OF_THREE_CLASSES, 1)
    file.add(rows_of(OF_THREE_CLASSES, 0, n_rows), now)
    file._file._file.close()
    file._file._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - `close` closes it
    with pytest.raises(OSError, match="No space left on device") as refused:  # noqa: PT012 - by either
        file.end()
        file.close()
    assert refused.value.errno == errno.ENOSPC
    file.close()


IN_A_PROCESS = """if True:
    import os, sys
    from pathlib import Path
    from propensity.scoring.part_file import now
    from propensity.scoring.whole_rows import WholeRows
    from tests.scoring.test_whole_rows import JOB, batches_of
    assert "polars" not in sys.modules
    for number in range(3):
        file = WholeRows(Path(sys.argv[1]) / f"{number}", JOB, 3)
        for batch in batches_of(JOB):
            file.add(batch, now)
        file.end()
        file.close()
    print(sys.modules["polars"].thread_pool_size(), os.environ.get("POLARS_MAX_THREADS"))
"""


@pytest.mark.parametrize(("given", "told"), [(None, "3 None"), ("1", "1 1"), ("4", "4 4")])
def test_the_bytes_are_the_same_whatever_the_threads(given, told, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "POLARS_MAX_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, str(tmp_path)],
        env=environment | ({} if given is None else {"POLARS_MAX_THREADS": given}),
        cwd=shop.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{told}\n"
    write(tmp_path / "here", JOB, batches_of(JOB))
    files = list(tmp_path.iterdir())
    assert len(files) == 4
    assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == 1
