from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from propensity.api import Platform
from propensity.errors import ArtifactError, ExportError, UnknownModelError
from propensity.exports.service import write_export
from propensity.exports.signature import SIGNATURE, read_signature
from propensity.models.artifact import read_artifact
from tests import shop
from tests.training.planted import write

EXPORTER = """
import sys, time
from pathlib import Path
from propensity.exports import onnx_format
from propensity.exports.service import write_export
from propensity.models.artifact import read_artifact

def write(directory, artifact):
    (directory / "half a graph").touch()
    print("writing", flush=True)
    time.sleep(600)

onnx_format.write = write
write_export(read_artifact(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def exported(finished_home, tmp_path_factory):
    """The finished home's champion, exported."""
    directory = tmp_path_factory.mktemp("exports") / "deep" / "onnx"
    return Platform(shop.settings_of(finished_home)).export_model(to=directory).directory


@pytest.fixture
def export(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "export")


@pytest.fixture
def platform(finished_home):
    return Platform(shop.settings_of(finished_home))


def change(directory, **changed):
    path = directory / SIGNATURE
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_the_champion_is_exported_and_says_whose_it_is(platform, exported):
    (model,) = platform.models()
    metadata = read_artifact(model.artifact).metadata
    signature = read_signature(exported)
    assert (signature.model_version, signature.region) == (model.model_version, "us")
    assert signature.artifact_sha256 == read_artifact(model.artifact).sha256
    assert signature.categories == metadata.categories
    assert [path.name for path in exported.parent.iterdir()] == ["onnx"]
    assert platform.check_export(exported).signature == signature


def test_mxnets_export_is_checked_alike(platform, tmp_path):
    export = platform.export_model(to=tmp_path / "mxnet", file_format="mxnet")
    assert platform.check_export(export.directory).signature == export.signature
    path = export.directory / "encoder.json"
    path.write_text(path.read_text().replace("aligned", "crooked"))
    with pytest.raises(ExportError, match=r"encoder\.json is damaged"):
        platform.check_export(export.directory)


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named(platform, export, harm):
    path = export / "propensity.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(content if harm == "flip" else content[:-9])
    with pytest.raises(ExportError, match=r"propensity\.onnx is (damaged|missing).*Export it again: propensity models"):
        platform.check_export(export)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"schema_version": 2}', "\x00"])
def test_a_damaged_signature_is_named(platform, export, content):
    (export / SIGNATURE).write_text(content)
    with pytest.raises(ExportError, match=r"signature\.json is damaged or of another version"):
        platform.check_export(export)


def test_a_directory_without_an_export_is_named(platform, tmp_path):
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ExportError, match=r"holds no export: signature\.json is missing"):
            platform.check_export(directory)


def test_files_outside_the_export_are_not_its_own(platform, export):
    change(export, files={"../propensity.onnx": "0" * 64})
    with pytest.raises(ExportError, match="is missing"):
        platform.check_export(export)


def test_a_graph_of_another_model_is_refused_whatever_its_sums(platform, export, tmp_path):
    other = write_export(read_artifact(write(tmp_path / "v1")), tmp_path / "other")
    shutil.copyfile(other.directory / "propensity.onnx", export / "propensity.onnx")
    change(export, files=other.signature.files)
    with pytest.raises(ExportError, match=r"(differ from the scorer's|can't run) .*Export it again"):
        platform.check_export(export)


def test_the_model_it_was_made_from_must_be_there(platform, export, finished_home, tmp_path):
    change(export, artifact_sha256="0" * 64)
    with pytest.raises(ExportError, match="made from another artifact"):
        platform.check_export(export)
    change(export, model_version="v0")
    with pytest.raises(UnknownModelError, match="Unknown model 'v0'"):
        platform.check_export(export)


def test_an_unknown_format_is_named_with_the_known_ones(platform, export, tmp_path):
    with pytest.raises(ExportError, match=r"No export format 'torchscript'\. Known: .*onnx"):
        platform.export_model(to=tmp_path / "new", file_format="torchscript")
    change(export, format="torchscript")
    with pytest.raises(ExportError, match="No export format"):
        platform.check_export(export)


def test_a_damaged_artifact_is_not_exported(home, tmp_path):
    (weights,) = (home / "models" / "us").glob("*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        Platform(shop.settings_of(home)).export_model(to=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_a_killed_export_left_goes_with_the_next(tmp_path):
    artifact, place = write(tmp_path / "v1"), tmp_path / "exports"
    (place / ".mine").mkdir(parents=True)
    command = [sys.executable, "-c", EXPORTER, str(artifact), str(place / "killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as exporter:
        assert exporter.stdout.readline() == "writing\n"
        (left,) = place.glob(".propensity-export.*")
        write_export(read_artifact(artifact), place / "beside")
        assert (left / "half a graph").exists(), "its owner lives"
        exporter.kill()
    assert left.exists()
    write_export(read_artifact(artifact), place / "next")
    assert sorted(path.name for path in place.iterdir()) == [".mine", "beside", "next"]
