"""Rows on disk are the rows that were encoded, each once per pass, in an order of the seed, in bounded memory."""

from __future__ import annotations

import threading
import tracemalloc
from contextlib import closing

import numpy as np
import pytest

from propensity.training import encoded_files, stored_examples
from propensity.training.batches import Batches
from propensity.training.encoded_examples import encode, joined
from propensity.training.encoded_files import write_encoded
from propensity.training.encoding import fit_encoder
from propensity.training.examples import Examples
from propensity.training.stored_examples import store_examples

from .planted import CATEGORIES, CROSS, dictionary, examples

SOME = examples(110, 3, 1)
ENCODER = fit_encoder(SOME, dictionary(), CATEGORIES, 1, cross_signals=CROSS)
ENCODED = encode(ENCODER, SOME)
ALL = 1 << 30


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch):
    monkeypatch.setattr(encoded_files, "GROUP_ROWS", 16)
    monkeypatch.setattr(stored_examples, "CHUNK_ROWS", 48)


def files(directory, window_bytes):
    return write_encoded(directory, ENCODER, store_examples(SOME, directory / "raw"), window_bytes)


def dense(encoded) -> np.ndarray:
    """Everything that is known of each row, so that equal lines are equal rows."""
    rows = encoded.rows
    pairs = np.zeros((len(rows), encoded.prior.shape[1], rows.pair_signals.shape[1]), np.float32)
    pairs[rows.pair_row, rows.pair_position] = rows.pair_signals
    prior, labels = encoded.prior[encoded.as_of_position], encoded.labels.toarray()
    return np.hstack(
        (rows.deep.toarray(), rows.customer, rows.cross.toarray(), pairs.reshape(len(rows), -1), prior, labels)
    )


def dense_batch(batch) -> np.ndarray:
    n_rows, n_categories = batch.labels.shape
    signals = batch.pair_signals
    pairs = np.zeros((n_rows, n_categories, signals.shape[1]), np.float32)
    pairs[batch.pair_row, batch.pair_position] = signals
    deep, cross = batch.deep.by_row.toarray(), batch.cross.by_row.toarray()
    others = [batch.prior[batch.as_of_position], batch.labels.toarray()]
    return np.hstack((deep, batch.customer, cross, pairs.reshape(n_rows, -1), *others))


def in_rising_order(lines: np.ndarray) -> np.ndarray:
    return lines[np.lexsort(lines.T)]


@pytest.mark.parametrize("window_bytes", [1, 20_000, ALL])
def test_rows_come_back_as_they_were_encoded(tmp_path, monkeypatch, window_bytes):
    monkeypatch.setattr(encoded_files, "IN_ORDER_BYTES", 10_000)
    stored = files(tmp_path, window_bytes)
    parts = list(stored.in_order())
    assert len(parts) > 4
    np.testing.assert_array_equal(dense(joined(parts)), dense(ENCODED))
    assert len(stored) == len(SOME)
    # What they take in memory was counted right: these, and three counts per row until a CSR is made of them.
    rows, labels = stored.read(np.arange(stored.n_groups)).rows, ENCODED.labels
    arrays = [rows.customer, rows.pair_indptr, rows.pair_position, rows.pair_signals, ENCODED.as_of_position]
    arrays += [part for m in (rows.deep, rows.cross, labels) for part in (m.data, m.indices, m.indptr)]
    assert stored.n_bytes == pytest.approx(sum(array.nbytes for array in arrays) + 3 * 4 * len(SOME), abs=20)


@pytest.mark.parametrize("window_bytes", [1, 20_000, 45_000, ALL])
@pytest.mark.parametrize("batch_size", [7, 64, 1000])
def test_a_pass_has_every_row_once_whatever_the_windows(tmp_path, window_bytes, batch_size):
    batches = Batches(files(tmp_path, window_bytes), batch_size, np.random.default_rng(3))
    expected = in_rising_order(dense(ENCODED))
    passes = []
    for _ in range(2):
        found = [dense_batch(batch) for batch in batches]
        assert len(batches) == len(found)
        assert {len(lines) for lines in found[:-1]} <= {batch_size}
        passes.append(np.concatenate(found))
        np.testing.assert_array_equal(in_rising_order(passes[-1]), expected)
    assert not np.array_equal(*passes)


@pytest.mark.parametrize("window_bytes", [20_000, ALL])
def test_the_order_is_the_seeds_and_not_the_prefetching_threads(tmp_path, window_bytes):
    stored = files(tmp_path, window_bytes)

    def two_passes(seed, prefetch):
        batches = Batches(stored, 32, np.random.default_rng(seed), prefetch=prefetch)
        return np.concatenate([dense_batch(batch) for _ in range(2) for batch in batches])

    alone = two_passes(5, 0)
    for prefetch in (1, 4):
        np.testing.assert_array_equal(two_passes(5, prefetch), alone)
    assert not np.array_equal(two_passes(6, 0), alone)


def test_what_fits_is_shuffled_as_in_memory(tmp_path):
    stored = files(tmp_path, ALL)
    one, two = (Batches(source, 32, np.random.default_rng(1)) for source in (stored, ENCODED))
    for found, expected in zip(one, two, strict=True):
        np.testing.assert_array_equal(dense_batch(found), dense_batch(expected))


def test_a_window_has_rows_of_all_as_ofs(tmp_path):
    stored = files(tmp_path, 30_000)
    windows = [window for window, _ in stored.shuffled(np.random.default_rng(0))]
    assert len(windows) > 2
    assert all(set(window.as_of_position) == {0, 1, 2} for window in windows)


def test_a_pass_that_is_left_early_leaves_no_thread(tmp_path):
    batches = Batches(files(tmp_path, 20_000), 8, np.random.default_rng(0))
    with closing(iter(batches)) as one_pass:
        next(one_pass)
        assert any(thread.name == "prefetch" for thread in threading.enumerate())
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_a_file_that_was_cut_off_is_an_error_in_the_callers_thread(tmp_path):
    stored = files(tmp_path, 20_000)
    cut = stored.directory / "pair_signals"
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(OSError, match="pair_signals is shorter"):
        list(Batches(stored, 32, np.random.default_rng(0)))


def many_examples(n_rows: int) -> Examples:
    """Random rows of four as_ofs, quickly made."""
    part = examples(500, 4, 7)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.integers(0, len(part), n_rows))
    return Examples(
        part.customer_id[rows],
        part.as_of,
        part.as_of_position[rows],
        part.features[rows],
        part.labels[rows],
        part.popularity,
    )


def peak_bytes(n_rows: int, window_bytes: int, directory) -> tuple[int, int]:
    """Most memory in use while an encoder is fitted on stored rows, they are encoded and a pass is made; their size."""
    directory.mkdir()
    stored = store_examples(many_examples(n_rows), directory / "raw")
    tracemalloc.start()
    try:
        encoder = fit_encoder(stored, dictionary(), CATEGORIES, 1, cross_signals=CROSS)
        rows = write_encoded(directory, encoder, stored, window_bytes)
        assert sum(len(batch) for batch in Batches(rows, 64, np.random.default_rng(0))) == n_rows
        return tracemalloc.get_traced_memory()[1], rows.n_bytes
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_files, "GROUP_ROWS", 64)
    monkeypatch.setattr(stored_examples, "CHUNK_ROWS", 256)
    window_bytes = 1 << 18
    peak_bytes(1_000, window_bytes, tmp_path / "first")  # what is loaded once
    small, _ = peak_bytes(6_000, window_bytes, tmp_path / "small")
    large, size = peak_bytes(12_000, window_bytes, tmp_path / "large")
    # A window, the work on a chunk, and as many batches as happen to wait; all rows would be twice as much.
    assert large < 1.6 * small
    assert large < size / 3
