from __future__ import annotations

import dataclasses
import json
import zlib
from datetime import UTC, datetime, timedelta

import pytest

from propensity.features.snapshot import Snapshot
from propensity.scoring.job import ScoringJob
from propensity.scoring.manifests import Staging
from propensity.scoring.output_forms import FORMS, OutputForm
from propensity.scoring.parts import Part
from propensity.scoring.streamed_rows import StreamedRows

AS_OF = datetime(2024, 8, 1, 4, tzinfo=UTC)
CREATED = datetime(2024, 8, 2, tzinfo=UTC)
JOB = ScoringJob(
    region="us",
    run_id="scoring-1",
    created_timestamp=CREATED,
    snapshot=Snapshot(AS_OF, "features-1", 20_000),
    artifact_sha256="ab" * 32,
    model_version="v1",
    n_categories=12,
    n_classes=2,
    top_k=5,
    output=OutputForm("full"),
)
PART = Part(1, range(8192, 16384))


@pytest.fixture
def staging(tmp_path):
    staging = Staging(tmp_path / "run")
    staging.prepare(CREATED)
    return staging


def take(staging, content=b"scores", job=JOB, part=PART):
    written = staging.attempt(part)
    written.write_bytes(content)
    staging.take(job, part, written, file_bytes=len(content), file_crc32=zlib.crc32(content))


def test_a_part_counts_when_its_manifest_is_there(staging):
    assert not staging.has(JOB, PART)
    take(staging)
    assert staging.has(JOB, PART)
    assert (staging.parts / "part-00001.parquet").read_bytes() == b"scores"
    assert list((staging.directory / "attempts").iterdir()) == []
    (manifest,) = (staging.directory / "manifests").iterdir()
    manifest.unlink()
    assert not staging.has(JOB, PART)


@pytest.mark.parametrize(
    "change",
    [
        {"artifact_sha256": "cd" * 32},
        {"model_version": "v2"},
        {"snapshot": Snapshot(AS_OF, "features-2", 20_000)},
        {"snapshot": Snapshot(AS_OF + timedelta(days=1), "features-1", 20_000)},
        {"created_timestamp": CREATED + timedelta(microseconds=1)},
        {"region": "uk"},
        {"run_id": "scoring-2"},
        {"top_k": 4},
        {"output": OutputForm("compact")},
        {"sparse_weights": "bfloat16"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_part_of_another_job_is_never_taken(staging, change):
    take(staging)
    assert not staging.has(dataclasses.replace(JOB, **change), PART)


def test_a_part_of_another_writer_is_never_taken(staging, monkeypatch):
    monkeypatch.setitem(FORMS, "full", dataclasses.replace(FORMS["full"], file=StreamedRows))
    take(staging)
    assert staging.has(JOB, PART)
    monkeypatch.undo()
    assert not staging.has(JOB, PART)


def test_a_part_of_another_threshold_is_never_taken(staging):
    jobs = [dataclasses.replace(JOB, output=OutputForm("above_threshold", threshold)) for threshold in (0.01, 0.02)]
    take(staging, job=jobs[0])
    assert [staging.has(job, PART) for job in jobs] == [True, False]


def test_a_part_of_other_rows_is_never_taken(staging):
    take(staging)
    assert not staging.has(JOB, Part(1, range(8192, 16000)))
    assert not staging.has(JOB, Part(1, range(4096, 12288)))
    assert not staging.has(JOB, Part(2, PART.rows))


def test_what_is_no_part_of_the_run_is_not_kept(staging):
    parts = [Part(number, range(8192 * number, 8192 * (number + 1))) for number in range(4)]
    for part in parts:
        take(staging, part=part)
    staging.keep(parts[:3])
    assert [staging.has(JOB, part) for part in parts] == [True, True, True, False]
    assert sorted(file.name for file in staging.parts.iterdir()) == [part.name for part in parts[:3]]


@pytest.mark.parametrize("content", [b"score", b"scorex", None])
def test_a_file_that_is_not_whole_is_never_taken(staging, content):
    take(staging)
    file = staging.parts / PART.name
    file.unlink() if content is None else file.write_bytes(content)
    assert not staging.has(JOB, PART)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"part": 1}', '{"unknown": 1}'])
def test_a_damaged_manifest_counts_as_none(staging, content):
    take(staging)
    manifest = staging.directory / "manifests" / "part-00001.json"
    json.loads(manifest.read_text())
    manifest.write_text(content)
    assert not staging.has(JOB, PART)
    take(staging)
    assert staging.has(JOB, PART)


def test_the_first_attempt_fixes_the_created_timestamp(staging):
    assert staging.prepare(CREATED + timedelta(hours=1)) == CREATED
    (staging.directory / "run.json").write_text("{")
    assert staging.prepare(CREATED + timedelta(hours=2)) == CREATED + timedelta(hours=2)
    assert staging.prepare(CREATED) == CREATED + timedelta(hours=2)


def test_what_a_dead_process_was_writing_goes(staging):
    take(staging)
    staging.attempt(PART).write_bytes(b"half a fi")
    staging.prepare(CREATED)
    assert list((staging.directory / "attempts").iterdir()) == []
    assert staging.has(JOB, PART)
