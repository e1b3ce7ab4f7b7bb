from __future__ import annotations

import ctypes
import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix

from propensity.errors import ExportError
from propensity.exports import mxnet_format
from propensity.exports.checking import TOLERANCE, compare
from propensity.exports.service import write_export
from propensity.scoring.scorer import Scorer
from propensity.training.mxnet_runtime import mx
from tests.exports.many_models import SHAPES, model_of
from tests.training.planted import N_CATEGORIES, examples

TEST = examples(40, 1, 42)
POPULARITY = TEST.popularity[0]


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def exported(request, artifacts, tmp_path_factory):
    """A model of each shape and its export."""
    *shape, cross = request.param
    model = model_of(*shape, cross=cross)
    directory = tmp_path_factory.mktemp("exports") / "mxnet"
    return model, write_export(dataclasses.replace(artifacts[model.n_classes], model=model), directory, "mxnet")


def run(exported, rows):
    model, export = exported
    return mxnet_format.load(export.directory, model)(rows, POPULARITY)


def test_the_graph_says_what_the_scorer_says(exported):
    model, export = exported
    expected = Scorer(model).examples_at_least(TEST)
    found = run(exported, TEST.features)
    np.testing.assert_allclose(found["propensities"], expected[:, 0], atol=TOLERANCE)
    assert expected[:, 0].std(axis=0).max() > 0.05  # or a constant would do
    if model.n_classes == 3:
        np.testing.assert_allclose(found["class_propensities"], expected[:, 1], atol=TOLERANCE)
    assert 0 < export.signature.largest_difference < TOLERANCE / 2


def test_the_signature_is_the_graphs_own(exported):
    """Inputs are the symbol's arguments that have no parameter, in order: so DJL finds them."""
    _, export = exported
    symbol = mx.sym.load(str(export.directory / mxnet_format.SYMBOL))
    parameters = mx.nd.load(str(export.directory / mxnet_format.PARAMETERS))
    assert all(name.startswith("arg:") for name in parameters)
    given = [name for name in symbol.list_arguments() if f"arg:{name}" not in parameters]
    assert sorted(given) == sorted(tensor.name for tensor in export.signature.inputs)
    assert symbol.list_auxiliary_states() == []
    assert [name.removesuffix("_output") for name in symbol.list_outputs()] == [
        tensor.name for tensor in export.signature.outputs
    ]
    assert sorted(export.signature.files) == [
        "encoder.json", "encoder.parquet", "propensity-0000.params", "propensity-symbol.json",
    ]  # fmt: skip


@pytest.fixture
def numpys_shapes():
    """What DJL switches on for its whole process, before it loads anything."""
    switch, before = mx.base._LIB.MXSetIsNumpyShape, ctypes.c_int()
    mx.base.check_call(switch(ctypes.c_int(2), ctypes.byref(before)))
    yield
    mx.base.check_call(switch(before, ctypes.byref(ctypes.c_int())))
    assert not mx.util.is_np_shape()


def test_it_runs_as_djl_runs_it(exported, numpys_shapes):
    assert mx.util.is_np_shape()
    expected = Scorer(exported[0]).examples_at_least(TEST)
    np.testing.assert_allclose(run(exported, TEST.features)["propensities"], expected[:, 0], atol=TOLERANCE)


def test_strangers(exported):
    nobody = csr_matrix((2, TEST.features.shape[1]), dtype=np.float32)
    alone = run(exported, nobody)["propensities"]
    assert alone.shape == (2, N_CATEGORIES)
    beside = run(exported, csr_matrix(np.vstack([TEST.features[:3].toarray(), nobody.toarray()])))["propensities"]
    np.testing.assert_allclose(beside[3:], alone, atol=1e-6)


def test_rows_can_be_sorted_by_encoder_parquet(artifacts):
    """What docs/exports.md tells the caller to do, from the file and in plain Python."""
    model = artifacts[2].model
    expected = mxnet_format.sorted_into_inputs(model, TEST.features)
    assert expected["deep"].shape[0] == len(TEST) + 1  # the closing row
    assert expected["pair_row"][-1] == len(TEST)
    assert not expected["pair_signals"][-1].any()
    places = {
        row["feature_index"]: row for row in pq.read_table(artifacts[2].directory / "encoder.parquet").to_pylist()
    }
    deep, cross = (np.zeros(expected[name].shape, np.float32) for name in ("deep", "cross"))
    customer = np.zeros(expected["customer"].shape, np.float32)
    pairs = {}
    pairs[len(TEST), 0] = np.zeros(2, np.float32)
    for row in range(len(TEST)):
        stored = TEST.features[row]
        for feature, value in zip(stored.indices, stored.data, strict=True):
            place, squashed = places.get(feature), np.sign(value) * np.log1p(abs(value))
            if place is None:
                continue
            if place["column"] is not None:
                deep[row, place["column"]] = squashed
            if place["category_position"] is not None:
                pair = pairs.setdefault((row, place["category_position"]), np.zeros(2, np.float32))
                pair[place["aligned_signal"]] = squashed
                if place["aligned_signal"] in model.encoder.cross_signals:
                    cross[row, place["category_position"]] = squashed
            if place["customer_signal"] is not None:
                customer[row, place["customer_signal"]] = squashed
    np.testing.assert_allclose(expected["deep"].toarray(), deep, rtol=1e-6)
    np.testing.assert_allclose(expected["cross"].toarray(), cross, rtol=1e-6)
    np.testing.assert_allclose(expected["customer"], customer, rtol=1e-6)
    assert list(zip(expected["pair_row"], expected["pair_position"], strict=True)) == sorted(pairs)
    np.testing.assert_allclose(expected["pair_signals"], [pairs[pair] for pair in sorted(pairs)], rtol=1e-6)


def test_a_graph_of_another_model_is_refused(artifacts, tmp_path):
    export = write_export(artifacts[2], tmp_path / "v2", "mxnet")
    graph = mxnet_format.load(export.directory, artifacts[2].model)
    with pytest.raises(ExportError, match="differ from the scorer's"):
        compare(model_of(2, "category_aligned", 1, cross=True), graph)


@pytest.mark.parametrize("name", [mxnet_format.SYMBOL, mxnet_format.PARAMETERS])
def test_a_file_that_is_none_is_refused(artifacts, tmp_path, name):
    export = write_export(artifacts[2], tmp_path / "v2", "mxnet")
    (export.directory / name).write_text("{}")
    with pytest.raises(ExportError, match="MXNet can't run"):
        compare(artifacts[2].model, mxnet_format.load(export.directory, artifacts[2].model))
