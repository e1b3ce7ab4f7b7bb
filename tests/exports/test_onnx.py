from __future__ import annotations

import dataclasses
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.sparse import csr_matrix, vstack

from propensity.errors import ExportError, RuntimeMissingError
from propensity.exports import onnx_format, onnx_graph
from propensity.exports.checking import TOLERANCE, compare, made_up_rows
from propensity.exports.service import write_export
from propensity.exports.signature import Tensor
from propensity.scoring.scorer import Scorer
from tests.exports.many_models import SHAPES, model_of
from tests.training.planted import N_CATEGORIES, examples

TEST = examples(40, 1, 42)
POPULARITY = TEST.popularity[0]


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def exported(request, artifacts, tmp_path_factory):
    """A model of each shape and its export."""
    *shape, cross = request.param
    model = model_of(*shape, cross=cross)
    directory = tmp_path_factory.mktemp("exports") / "onnx"
    return model, write_export(dataclasses.replace(artifacts[model.n_classes], model=model), directory)


def run(export, rows, popularity=POPULARITY):
    return onnx_format.load(export.directory)(rows, popularity)


def test_the_graph_says_what_the_scorer_says(exported):
    model, export = exported
    expected = Scorer(model).examples_at_least(TEST)
    found = run(export, TEST.features)
    np.testing.assert_allclose(found["propensities"], expected[:, 0], atol=TOLERANCE)
    assert expected[:, 0].std(axis=0).max() > 0.05  # or a constant would do
    assert ("class_propensities" in found) == (model.n_classes == 3)
    if model.n_classes == 3:
        np.testing.assert_allclose(found["class_propensities"], expected[:, 1], atol=TOLERANCE)
        assert (found["class_propensities"] <= found["propensities"]).all()
    assert 0 < export.signature.largest_difference < TOLERANCE / 2


def test_strangers_and_rows_beside_them(exported):
    _, export = exported
    together = run(export, TEST.features)["propensities"]
    nobody = csr_matrix((1, TEST.features.shape[1]), dtype=np.float32)
    among = run(export, vstack([nobody, TEST.features[:5], nobody, nobody], "csr"))["propensities"]
    np.testing.assert_allclose(among[1:6], together[:5], atol=1e-6)
    np.testing.assert_allclose(among[[0, 6, 7]], np.repeat(run(export, nobody)["propensities"], 3, axis=0), atol=1e-6)
    assert np.abs(among[0] - among[1]).max() > 0.01
    assert run(export, TEST.features[:0])["propensities"].shape == (0, N_CATEGORIES)


def test_threads_and_blocks_change_nothing(exported):
    """Nothing is written twice by threads that race, and a row doesn't see the rows beside it."""
    _, export = exported
    rng = np.random.default_rng(0)
    many = TEST.features[rng.integers(0, len(TEST), 3000)].multiply(rng.random((3000, 1)) > 0.3).tocsr()
    many.eliminate_zeros()
    assert (np.diff(many.indptr) == 0).sum() > 500
    session = onnxruntime.InferenceSession(str(export.directory / onnx_format.GRAPH))  # as many threads as it likes
    given = {"indices": many.indices.astype(np.int64), "offsets": many.indptr.astype(np.int64), "values": many.data}
    (found, *_) = session.run(None, given | {"popularity": POPULARITY})
    blocks = [run(export, many[start : start + 700])["propensities"] for start in range(0, 3000, 700)]
    np.testing.assert_allclose(found, np.concatenate(blocks), atol=1e-6)


def test_features_newer_than_the_model_count_for_nothing(exported):
    model, export = exported
    known = TEST.features[:6]
    unknown = csr_matrix(np.full((6, 40), 3.0, np.float32))
    wider = csr_matrix((6, model.encoder.n_features - known.shape[1]), dtype=np.float32)
    both = run(export, csr_matrix(np.hstack([known.toarray(), wider.toarray(), unknown.toarray()])))
    np.testing.assert_array_equal(both["propensities"], run(export, known)["propensities"])


def test_popularity_moves_its_category_alone(exported):
    _, export = exported
    raised = POPULARITY.copy()
    raised[3] = 1.0  # beyond the ceiling
    before, after = (run(export, TEST.features, shares)["propensities"] for shares in (POPULARITY, raised))
    assert (before[:, 3] != after[:, 3]).all()
    np.testing.assert_array_equal(np.delete(before, 3, 1), np.delete(after, 3, 1))


def test_the_signature_is_the_graphs_own(exported):
    model, export = exported
    session = onnxruntime.InferenceSession(str(export.directory / onnx_format.GRAPH))
    kinds = {"int64": "tensor(int64)", "float32": "tensor(float)"}
    for declared, own in (
        (export.signature.inputs, session.get_inputs()),
        (export.signature.outputs, session.get_outputs()),
    ):
        assert [(tensor.name, kinds[tensor.dtype], list(tensor.shape)) for tensor in declared] == [
            (tensor.name, tensor.type, tensor.shape) for tensor in own
        ]
    assert [entry.category for entry in export.signature.categories] == list(model.encoder.categories)
    assert session.get_modelmeta().custom_metadata_map["model_version"] == export.signature.model_version == "v1"


def test_standard_operators_of_opset_18_only(exported):
    _, export = exported
    graph = onnx.load(export.directory / onnx_format.GRAPH)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 18)]
    (body,) = {node.op_type for node in graph.graph.node} & {"Scan"}
    assert body
    assert {node.domain for node in graph.graph.node} == {""}
    assert not graph.functions


def test_large_weights_go_into_a_file_of_their_own(artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "EXTERNAL_BEYOND", 0)
    monkeypatch.setattr(onnx_graph, "EXTERNAL_FROM", 64)
    export = write_export(artifacts[2], tmp_path / "large")
    assert sorted(export.signature.files) == ["propensity.onnx", "propensity.onnx.data"]
    outside = [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(tmp_path / "large" / "propensity.onnx", load_external_data=False).graph.initializer
        if tensor.external_data
    ]
    assert len(outside) > 10
    assert {int(entry["offset"]) % onnx_graph.ALIGNMENT for entry in outside} == {0}
    # Moved, it takes its weights along.
    (tmp_path / "large").rename(tmp_path / "moved")
    assert compare(artifacts[2].model, onnx_format.load(tmp_path / "moved")) < TOLERANCE


@pytest.mark.slow
def test_weights_beyond_what_protobuf_holds(tmp_path):
    rows, width = 2_300_000, 256
    with (tmp_path / "weight").open("wb") as file:
        file.truncate(rows * width * 4)
    weight = np.memmap(tmp_path / "weight", np.float32, "r+", shape=(rows, width))
    weight[-1] = 99.0
    graph, read = onnx_graph.Graph(), Tensor(name="row", dtype="int64", shape=("n",), meaning="")
    found = Tensor(name="weight_of_row", dtype="float32", shape=("n", width), meaning="")
    graph.write(
        tmp_path / "large.onnx", [read], {found: graph.add("Gather", graph.weight("weight", weight), "row")}, {}
    )
    assert (tmp_path / "large.onnx.data").stat().st_size > 2**31
    session = onnxruntime.InferenceSession(str(tmp_path / "large.onnx"))
    (values,) = session.run(None, {"row": np.array([0, rows - 1])})
    assert values[:, 0].tolist() == [0.0, 99.0]
    for path in tmp_path.iterdir():  # pytest keeps what is there
        path.unlink()


def test_a_graph_of_another_model_is_refused(artifacts, tmp_path):
    export = write_export(artifacts[2], tmp_path / "v2")
    graph = onnx_format.load(export.directory)
    other = model_of(2, "category_aligned", 1, cross=True)
    with pytest.raises(ExportError, match=r"propensities differ from the scorer's by up to 0\.\d+, more than 1e-05"):
        compare(other, graph)
    with pytest.raises(ExportError, match=r"answers with propensities .*the scorer with .*class_propensities"):
        compare(artifacts[3].model, graph)


@pytest.mark.parametrize("wrong", [np.nan, 2 * TOLERANCE])
def test_one_wrong_number_is_enough(artifacts, tmp_path, wrong):
    export = write_export(artifacts[2], tmp_path / "v2")
    graph = onnx_format.load(export.directory)

    def nearly(rows, popularity):
        found = graph(rows, popularity)
        found["propensities"][-1:, 5] += wrong
        return found

    with pytest.raises(ExportError, match="differ from the scorer's"):
        compare(artifacts[2].model, nearly)


def test_what_fails_leaves_nothing(artifacts, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    foreign = dataclasses.replace(artifacts[2], model=dataclasses.replace(artifacts[2].model, network="transformer"))
    with pytest.raises(ExportError, match=r"'transformer' can't be exported; category_aligned, feed_forward can"):
        write_export(foreign, tmp_path / "v2")
    monkeypatch.setattr("propensity.exports.checking.TOLERANCE", 0.0)
    for target in (tmp_path / "v2", tmp_path / "kept"):
        with pytest.raises(ExportError, match="more than 0"):
            write_export(artifacts[2], target)
    assert [(path.name, list(path.iterdir())) for path in tmp_path.iterdir()] == [("kept", [])]
    monkeypatch.undo()
    assert write_export(artifacts[2], tmp_path / "kept").signature.files


def test_a_full_directory_is_left_alone(artifacts, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match="never overwritten"):
        write_export(artifacts[2], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(artifacts, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RuntimeMissingError, match=rf"needs {package}, .*pip install 'propensity\[onnx\]'"):
        write_export(artifacts[2], tmp_path / "v2")
    assert list(tmp_path.iterdir()) == []


def test_made_up_rows_touch_every_part(artifacts):
    encoder = artifacts[2].model.encoder
    rows = made_up_rows(encoder, np.random.default_rng(0))
    lengths = np.diff(rows.indptr)
    assert lengths.min() == 0
    used = np.unique(rows.indices)
    assert used.max() == encoder.n_features  # one that it doesn't know
    used = used[:-1]
    for table in (encoder.feature_column, encoder.feature_signal, encoder.feature_customer):
        assert set(table[used]) == set(table)
    encoded = encoder.transform(rows)
    assert 0.3 < np.abs(encoded.deep.data).mean() < 3
    assert (rows.data < 0).any()
