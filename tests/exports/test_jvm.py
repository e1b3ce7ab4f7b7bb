"""The ONNX graph on the JVM, where Java and ONNX Runtime's jar are at hand: ONNXRUNTIME_JAR, or Maven's own cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from propensity.exports.checking import TOLERANCE
from propensity.exports.service import write_export
from propensity.models.artifact import read_artifact
from propensity.scoring.scorer import Scorer
from tests.training.planted import examples, write

PROGRAM = Path(__file__).with_name("RunGraph.java")
CACHE = Path.home() / ".m2/repository/com/microsoft/onnxruntime/onnxruntime"


@pytest.fixture(scope="module")
def jar() -> str:
    if shutil.which("java") is None:
        pytest.skip("no java on the path; on Debian: apt-get install openjdk-17-jdk-headless")
    named = os.environ.get("ONNXRUNTIME_JAR")
    found = [named] if named else sorted(map(str, CACHE.glob("*/onnxruntime-*[0-9].jar")))
    if not found:
        pytest.skip("no ONNX Runtime for Java; name its jar: ONNXRUNTIME_JAR=/path/to/onnxruntime-1.20.0.jar")
    return found[-1]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_jvm_says_what_the_scorer_says(jar, tmp_path, n_classes):
    artifact = read_artifact(write(tmp_path / "v1", n_classes))
    export = write_export(artifact, tmp_path / "onnx")
    test = examples(40, 1, 42)
    (tmp_path / "given").mkdir()
    (tmp_path / "found").mkdir()
    given = {
        "indices": test.features.indices,
        "offsets": test.features.indptr,
        "values": test.features.data,
        "popularity": test.popularity[0],
    }
    for tensor in export.signature.inputs:
        given[tensor.name].astype(tensor.dtype).tofile(tmp_path / "given" / f"{tensor.name}.{tensor.dtype}")
    arguments = (export.directory / "propensity.onnx", tmp_path / "given", tmp_path / "found")
    done = subprocess.run(
        ["java", "-cp", jar, str(PROGRAM), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = Scorer(artifact.model).examples_at_least(test)
    for k, tensor in enumerate(export.signature.outputs):
        found = np.fromfile(tmp_path / "found" / f"{tensor.name}.float32", np.float32)
        np.testing.assert_allclose(found.reshape(len(test), -1), expected[:, k], atol=TOLERANCE)
