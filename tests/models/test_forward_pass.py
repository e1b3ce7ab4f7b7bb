from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from propensity.models import forward_pass
from propensity.models.bfloat16 import rounded, widened
from propensity.models.calibration import Calibration, at_least
from propensity.models.encoded_rows import EncodedRows
from propensity.models.exponential import exponential
from propensity.models.forward import PAIR_BLOCK, ROW_BLOCK
from propensity.models.forward_kernels import calibrate, reach
from propensity.models.forward_pass import ForwardPass
from propensity.models.sparse_product import add_product
from tests.models.rows_alike import assert_same_rows
from tests.training import numpy_forward

N, SIGNALS, CROSS, CUSTOMER, COLUMNS = 70, 5, 2, 3, 300
N_ROWS = 2 * ROW_BLOCK + 37


@pytest.fixture(scope="module")
def rows():
    """Some without features, some without seen pairs; more pairs in a block of rows than a block of pairs holds."""
    rng = np.random.default_rng(0)
    deep = scipy.sparse.random(N_ROWS, COLUMNS, 0.05, "csr", np.float32, random_state=rng)
    counts = rng.integers(0, 20, N_ROWS) * (rng.random(N_ROWS) < 0.8)
    position = np.concatenate([np.sort(rng.choice(N, count, replace=False)) for count in counts]).astype(np.int32)
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    assert indptr[ROW_BLOCK] > PAIR_BLOCK
    signals = rng.normal(size=(len(position), SIGNALS)).astype(np.float32)
    columns = position[:, None] * CROSS + np.arange(CROSS)
    cross = scipy.sparse.csr_matrix(
        (np.abs(signals[:, :CROSS]).ravel(), columns.ravel(), indptr * CROSS), shape=(N_ROWS, N * CROSS)
    )
    customer = rng.normal(size=(N_ROWS, CUSTOMER)).astype(np.float32)
    return EncodedRows(deep, customer, cross, indptr, position, signals)


PRIOR = np.random.default_rng(1).normal(-3, 1, (2, N)).astype(np.float32)
AS_OF = np.random.default_rng(2).integers(0, 2, N_ROWS).astype(np.int32)


def weights(network, n_classes, seed=0, hidden=(40, 24), aligned=(16, 8), embedding=3, context=4):
    rng = np.random.default_rng(seed)
    width = n_classes - 1
    shapes = {
        "deep.input_weight": (COLUMNS, hidden[0]),
        "deep.input_bias": (1, hidden[0]),
        "deep.layers.0.weight": (hidden[1], hidden[0]),
        "deep.layers.0.bias": (hidden[1],),
        "head.output.weight": (width * N, hidden[1]),
        "head.output.bias": (width * N,),
        "head.prior_scale": (1, width, 1),
    }
    if network == "category_aligned":
        first = SIGNALS + embedding + context + 1 + CUSTOMER
        shapes |= {
            "aligned.embedding": (N, embedding),
            "aligned.context.weight": (context, hidden[1]),
            "aligned.context.bias": (context,),
            "aligned.layers.0.weight": (aligned[0], first),
            "aligned.layers.0.bias": (aligned[0],),
            "aligned.layers.1.weight": (aligned[1], aligned[0]),
            "aligned.layers.1.bias": (aligned[1],),
            "aligned.output.weight": (width, aligned[1]),
            "aligned.output.bias": (width,),
            "aligned.linear": (N, width * (SIGNALS + 1)),
            "cross.weight": (N * CROSS, width * N),
        }
    return {name: rng.normal(0, 0.25, shape).astype(np.float32) for name, shape in shapes.items()}


def calibration(n_classes):
    rng = np.random.default_rng(3)
    shape = (2, n_classes - 1)
    return Calibration(rng.uniform(0.5, 2, shape), rng.normal(size=shape), rng.normal(size=(*shape, N)).astype("f4"))


def both_results(forward, rows, n_classes, threads=1, as_of=AS_OF):
    margins = np.empty((len(rows), n_classes - 1, N), np.float32)
    forward.write_margins(rows, PRIOR, as_of, margins, threads)
    reached = np.empty_like(margins)
    forward.write_probabilities(rows, PRIOR, as_of, calibration(n_classes), reached, threads)
    return margins, reached


@pytest.mark.parametrize("n_nets", [1, 3])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("network", ["category_aligned", "feed_forward"])
def test_margins_and_probabilities_are_those_of_the_formulas(rows, network, n_classes, n_nets):
    nets = [weights(network, n_classes, seed) for seed in range(n_nets)]
    margins, reached = both_results(ForwardPass(network, nets, n_classes), rows, n_classes)
    doubled = [{name: value.astype(float) for name, value in net.items()} for net in nets]
    expected = np.mean([numpy_forward.margins(net, n_classes, rows, PRIOR, AS_OF) for net in doubled], axis=0)
    np.testing.assert_allclose(margins, expected, atol=1e-5)
    calibrated = calibration(n_classes).apply(margins, rows.pair_row, rows.pair_position)
    np.testing.assert_allclose(reached, at_least(calibrated), atol=1e-6)
    assert np.ptp(reached) > 0.9


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_bit_and_neighbours_none_or_the_last(rows, n_classes, threads):
    nets = [weights("category_aligned", n_classes, seed) for seed in range(2)]
    forward = ForwardPass("category_aligned", nets, n_classes)
    whole = both_results(forward, rows, n_classes)
    for found, expected in zip(both_results(forward, rows, n_classes, threads), whole, strict=True):
        assert found.tobytes() == expected.tobytes()
    rng = np.random.default_rng(threads)
    for size in (1, 30, N_ROWS):
        chosen = rng.choice(N_ROWS, size, replace=False)
        part = both_results(forward, rows.take(chosen), n_classes, threads, AS_OF[chosen])
        for found, expected in zip(part, whole, strict=True):
            assert_same_rows(found, expected[chosen])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("network", ["category_aligned", "feed_forward"])
def test_bfloat16_gives_the_bits_of_weights_that_were_rounded_before(rows, network, n_classes):
    """So all that holds for float32, holds for it."""
    nets = [weights(network, n_classes, seed) for seed in range(2)]
    sparse = {"deep.input_weight", "cross.weight"}
    before = [{name: widened(rounded(w)) if name in sparse else w for name, w in net.items()} for net in nets]
    found = both_results(ForwardPass(network, nets, n_classes, "bfloat16"), rows, n_classes)
    expected = both_results(ForwardPass(network, before, n_classes), rows, n_classes)
    exact = both_results(ForwardPass(network, nets, n_classes), rows, n_classes)
    for by_bfloat16, by_rounded, by_float32 in zip(found, expected, exact, strict=True):
        assert by_bfloat16.tobytes() == by_rounded.tobytes()
        assert by_bfloat16.tobytes() != by_float32.tobytes()


def test_bfloat16_margins_are_off_by_what_rounding_allows(rows):
    """A weight is off by 2^-8 of itself at most, and the layers after it can only add their weights' sizes up."""
    net = weights("feed_forward", 2)
    exact, _ = both_results(ForwardPass("feed_forward", [net], 2), rows, 2)
    found, _ = both_results(ForwardPass("feed_forward", [net], 2, "bfloat16"), rows, 2)
    off = np.abs(rows.deep) @ np.abs(net["deep.input_weight"]) * 2.0**-8
    for layer in ("deep.layers.0.weight", "head.output.weight"):
        off = off @ np.abs(net[layer]).T
    error = np.abs(found - exact)[:, 0]
    assert (error <= off + 1e-5).all()
    assert error.max() > 1e-3


def test_chunks_are_the_whole(rows, monkeypatch):
    forward = ForwardPass("category_aligned", [weights("category_aligned", 2)], 2)
    whole, _ = both_results(forward, rows, 2)
    monkeypatch.setattr(forward_pass, "CHUNK_ROWS", ROW_BLOCK)
    chunks = list(forward.margins(rows, PRIOR, AS_OF, 2))
    assert [len(chunk) for chunk in chunks] == [ROW_BLOCK, ROW_BLOCK, 37]
    assert np.concatenate(chunks).tobytes() == whole.tobytes()
    assert list(forward.margins(rows.slice(0, 0), PRIOR, AS_OF[:0], 2)) == []


@pytest.mark.parametrize("width", [1, 7, 64, 100, 300])
def test_the_sparse_product_is_scipys(width):
    rng = np.random.default_rng(width)
    rows = scipy.sparse.random(50, 200, 0.1, "csr", np.float32, random_state=rng)
    weight = rng.normal(size=(200, width)).astype(np.float32)
    start = rng.normal(size=(30, width)).astype(np.float32)
    out = start.copy()
    add_product(rows.indptr, rows.indices, rows.data, weight, out, 10, 40, 10)
    np.testing.assert_allclose(out, start + (rows @ weight)[10:40], atol=1e-5)


def test_the_exponential_is_numpys():
    x = np.linspace(-87, 88, 200_001, dtype=np.float32)
    found = np.array([exponential(each) for each in x[::100]])
    np.testing.assert_allclose(found, np.exp(x[::100].astype(float)), rtol=3e-7)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_is_no_number_stays_none(n_classes):
    """A broken weight must show in the scores."""
    margins = np.zeros((1, n_classes - 1, 4), np.float32)
    margins[0, :, 1] = np.nan
    slope, shift = calibration(n_classes).slope_and_shift()
    calibrate(margins, slope, shift[:, :, :4], np.float32(13), np.array([0, 1]), np.array([1], np.int32), 0, 1)
    reach(margins, 0, 1)
    assert np.isnan(margins[0, :, 1]).all()
    assert np.isfinite(np.delete(margins, 1, axis=2)).all()
