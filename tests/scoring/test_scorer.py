from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.errors import InputError
from propensity.models.calibration import propensity
from propensity.scoring.scorer import Scorer
from propensity.training import networks
from propensity.training.batches import batch_of
from propensity.training.encoded_examples import encode
from tests.models.rows_alike import assert_same_rows
from tests.training.added_up import margins
from tests.training.planted import CATEGORIES, examples, fitted, write

N = len(CATEGORIES)
TEST = examples(300, 1, 42)
AS_OF = pa.scalar(1_700_000_000_000_000, pa.timestamp("us", "UTC"))


def batch(rows=None, views=1):
    """TEST's rows as a scoring batch, features split over `views` pairs of list columns."""
    matrix = TEST.features if rows is None else TEST.features[rows]
    columns = {
        "customer_id": pa.array(TEST.customer_id if rows is None else TEST.customer_id[rows]),
        "event_timestamp": pa.array([AS_OF.as_py()] * matrix.shape[0], AS_OF.type),
        "region": pa.array(["us"] * matrix.shape[0]),
    }
    bounds = np.linspace(0, matrix.shape[1], views + 1).astype(int)
    for view in range(views):
        part = matrix[:, bounds[view] : bounds[view + 1]]
        name = "" if views == 1 else f"view_{view}__"
        columns[f"{name}indices"] = pa.ListArray.from_arrays(
            part.indptr, pa.array(part.indices + bounds[view], pa.int32())
        )
        columns[f"{name}values"] = pa.ListArray.from_arrays(part.indptr, pa.array(part.data, pa.float32()))
    return pa.RecordBatch.from_pydict(columns)


def matrix_of(column):
    return column.flatten().to_numpy().reshape(len(column), -1)


@pytest.fixture(scope="module")
def scorer():
    return Scorer(fitted().model, top_k=4)


def test_importing_and_scoring_need_no_training_framework(tmp_path):
    directory = write(tmp_path / "v1")
    code = f"""if True:
        import sys
        from pathlib import Path
        import numpy, pyarrow as pa
        from propensity.scoring.scorer import Scorer
        batch = pa.record_batch({{
            "customer_id": ["a"], "event_timestamp": pa.array([0], pa.timestamp("us", "UTC")),
            "indices": [[0, 12]], "values": [[2.0, 3.0]]}})
        scored = Scorer.open(Path({str(directory)!r})).score(batch)
        assert scored.num_rows == 1
        assert not [name for name in sys.modules if name.split(".")[0] == "mxnet"], "mxnet was imported"
        assert not hasattr(numpy, "PINF")
    """
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_agree_with_mxnet(n_classes):
    model = fitted(n_classes).model
    encoded = encode(model.encoder, TEST)
    shape = networks.NetworkShape(model.encoder.n_columns, N, n_classes, 2, 1, 1, (16, 8), (8, 4), 2, 2, 0.3, 0.3)
    net = networks.build(model.network, shape, np.random.default_rng(0))
    networks.set_weights(net, model.nets[0])
    everything = batch_of(encoded, np.arange(len(TEST)))
    added = margins(net(everything), everything)
    expected = propensity(model.calibration.apply(added, encoded.rows.pair_row, encoded.rows.pair_position))
    scorer = Scorer(model, dict(enumerate(TEST.popularity[0].tolist())))
    np.testing.assert_allclose(scorer.score_examples(TEST), expected, atol=1e-5)
    np.testing.assert_allclose(matrix_of(scorer.score(batch()).column("propensities")), expected, atol=1e-5)


def test_the_result_has_the_agreed_columns(scorer):
    scored = scorer.score(batch())
    assert scored.schema == pa.schema(
        {
            "customer_id": pa.string(),
            "event_timestamp": pa.timestamp("us", "UTC"),
            "propensities": pa.list_(pa.float32()),
            "top_categories": pa.list_(pa.int32()),
            "top_propensities": pa.list_(pa.float32()),
        }
    )
    assert scored.column("customer_id").to_pylist() == TEST.customer_id.tolist()
    scores = matrix_of(scored.column("propensities"))
    assert scores.shape == (300, N)
    assert ((scores > 0) & (scores < 1)).all()
    for row, top, values in zip(
        scores, scored.column("top_categories").to_pylist(), scored.column("top_propensities"), strict=True
    ):
        expected = sorted(range(N), key=lambda c: (-row[c], c))[:4]
        assert top == [scorer.category_index[c] for c in expected]
        np.testing.assert_array_equal(values.values.to_numpy(), row[expected])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_rows_scores_dont_depend_on_the_batch(scorer, data):
    order = np.random.default_rng(data.draw(st.integers(0, 1000))).permutation(300)
    cuts = sorted({0, 300, *data.draw(st.lists(st.integers(1, 299), max_size=6))})
    whole = matrix_of(scorer.score(batch()).column("propensities"))
    for start, stop in pairwise(cuts):
        rows = order[start:stop]
        part = matrix_of(scorer.score(batch(rows)).column("propensities"))
        assert_same_rows(part, whole[rows])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_does_not_change_a_byte(scorer, threads):
    assert Scorer(fitted().model, top_k=4, threads=threads).score(batch()).equals(scorer.score(batch()))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_bfloat16_changes_a_trained_nets_propensities_a_little(n_classes):
    """docs/forward_pass.md states the error on Complete Journey; this is its size on a net of few weights."""
    model = fitted(n_classes).model
    exact = Scorer(model).examples_at_least(TEST)
    found = Scorer(model, sparse_format="bfloat16").examples_at_least(TEST)
    error = np.abs(found - exact)
    assert 0 < error.max() < 5e-3
    assert error.mean() < 5e-4


@pytest.mark.parametrize("views", [2, 3])
def test_features_may_come_in_several_views(scorer, views):
    assert scorer.score(batch(views=views)).equals(scorer.score(batch()))


def test_null_lists_are_strangers_and_strangers_get_a_score(scorer):
    one = batch(np.array([0, 1]))
    names = one.schema.names
    columns = {name: one.column(name) for name in names}
    for name in ("indices", "values"):
        columns[name] = pa.array([None, *one.column(name).to_pylist()[1:]], one.column(name).type)
    scored = matrix_of(scorer.score(pa.RecordBatch.from_pydict(columns)).column("propensities"))
    np.testing.assert_array_equal(scored[1], matrix_of(scorer.score(one).column("propensities"))[1])
    assert np.isfinite(scored[0]).all()
    assert not np.array_equal(scored[0], matrix_of(scorer.score(one).column("propensities"))[0])


def test_features_newer_than_the_model_are_ignored(scorer):
    one = batch(np.array([0]))
    columns = {name: one.column(name) for name in one.schema.names}
    columns["indices"] = pa.array([[*one.column("indices")[0].as_py(), 10_000]], pa.list_(pa.int32()))
    columns["values"] = pa.array([[*one.column("values")[0].as_py(), 7.0]], pa.list_(pa.float32()))
    assert scorer.score(pa.RecordBatch.from_pydict(columns)).equals(scorer.score(one))


def test_popularity_moves_scores_and_has_a_default(scorer):
    model = fitted().model
    default = scorer.score_examples  # examples bring their own
    assert default(TEST).shape == (300, N)
    stored = dict(zip(model.encoder.category_index.tolist(), model.popularity_default.tolist(), strict=True))
    plain = scorer.score(batch())
    assert Scorer(model, stored, top_k=4).score(batch()).equals(plain)
    raised = Scorer(model, stored | {3: 0.99}, top_k=4).score(batch())
    before, after = (matrix_of(scored.column("propensities")) for scored in (plain, raised))
    assert (after[:, 3] != before[:, 3]).all()
    np.testing.assert_array_equal(np.delete(after, 3, axis=1), np.delete(before, 3, axis=1))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_rows_give_no_rows(n_classes):
    assert Scorer(fitted(n_classes).model).score(batch().slice(0, 0)).num_rows == 0


def test_top_k_is_bounded_by_the_categories():
    scored = Scorer(fitted().model, top_k=99).score(batch(np.array([0])))
    assert sorted(scored.column("top_categories")[0].as_py()) == list(range(N))


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("customer_id", "Column 'customer_id' is missing. Existing columns: event_timestamp"),
        ("values", "Column 'values' is missing"),
        ("indices", "Column 'indices' is missing"),
    ],
)
def test_missing_columns_are_named(scorer, drop, message):
    with pytest.raises(InputError, match=message):
        scorer.score(batch().drop_columns([drop]))


def test_a_batch_without_vectors_is_refused(scorer):
    with pytest.raises(InputError, match="No feature vectors"):
        scorer.score(batch().drop_columns(["indices", "values"]))
