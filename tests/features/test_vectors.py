from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.errors import InputError
from propensity.features.vectors import csr_from_lists, list_pairs

N_FEATURES = 8
entries = st.dictionaries(st.integers(0, 11), st.floats(-1e3, 1e3, width=32), max_size=6)
rows = st.lists(st.one_of(st.none(), entries), min_size=0, max_size=9)
types = st.sampled_from(
    [(pa.list_(pa.int32()), pa.list_(pa.float32())), (pa.large_list(pa.int64()), pa.large_list(pa.float64()))]
)


def columns(rows, kinds):
    """(indices, values) of rows of {index: value}; None is a null list."""
    indices = pa.array([None if row is None else list(row) for row in rows], kinds[0])
    values = pa.array([None if row is None else list(row.values()) for row in rows], kinds[1])
    return indices, values


@settings(max_examples=200, deadline=None)
@given(st.data(), types, st.integers(1, 3))
def test_lists_become_the_matrix_a_loop_builds(data, kinds, n_views):
    """With nulls, slices, chunks, several views and features beyond the encoder's."""
    n_rows = data.draw(st.integers(0, 9))
    views = [
        data.draw(st.lists(st.one_of(st.none(), entries), min_size=n_rows, max_size=n_rows)) for _ in range(n_views)
    ]
    start, stop = sorted(data.draw(st.tuples(st.integers(0, n_rows), st.integers(0, n_rows))))
    pairs = []
    for view, lists in enumerate(views):  # views name different features
        moved = [None if row is None else {i * n_views + view: v for i, v in row.items()} for row in lists]
        indices, values = columns(moved, kinds)
        if data.draw(st.booleans()):
            indices = pa.chunked_array([indices[: n_rows // 2], indices[n_rows // 2 :]])
        pairs.append((indices[start:stop], values[start:stop]))
    found = csr_from_lists(pairs, N_FEATURES)
    expected = np.zeros((stop - start, N_FEATURES), np.float32)
    for view, lists in enumerate(views):
        for i, row in enumerate(lists[start:stop]):
            for index, value in (row or {}).items():
                if index * n_views + view < N_FEATURES:
                    expected[i, index * n_views + view] = value
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.toarray(), expected)
    found.check_format(full_check=True)


def test_one_pair_is_not_copied():
    indices, values = columns([{1: 2.0, 3: 4.0}, {0: 1.0}], (pa.list_(pa.int32()), pa.list_(pa.float32())))
    matrix = csr_from_lists([(indices, values)], N_FEATURES)
    assert np.shares_memory(matrix.data, values.values.to_numpy())
    assert np.shares_memory(matrix.indices, indices.values.to_numpy())


def test_a_null_list_that_hides_values_is_empty():
    """Arrow allows a null slot to span values; they don't count."""
    offsets, mask = pa.array([0, 2, 3], pa.int32()), pa.array([True, False])
    indices = pa.ListArray.from_arrays(offsets, pa.array([1, 2, 3], pa.int32()), mask=mask)
    values = pa.ListArray.from_arrays(offsets, pa.array([1.0, 2.0, 3.0], pa.float32()), mask=mask)
    np.testing.assert_array_equal(csr_from_lists([(indices, values)], 4).toarray(), [[0, 0, 0, 0], [0, 0, 0, 3]])


def test_no_pairs_give_empty_rows():
    assert csr_from_lists([], 5, n_rows=3).shape == (3, 5)


def test_columns_are_found_by_name():
    indices, values = columns([{1: 2.0}], (pa.list_(pa.int32()), pa.list_(pa.float32())))
    batch = pa.record_batch(
        {"b__indices": indices, "b__values": values, "indices": indices, "values": values, "x": pa.array([1])}
    )
    assert len(list_pairs(batch)) == 2
    with pytest.raises(InputError, match=r"Column 'b__values' is missing\. Existing columns: b__indices"):
        list_pairs(batch.drop_columns(["b__values"]))


@pytest.mark.parametrize(
    ("indices", "values", "message"),
    [
        ([[1, 2]], [[1.0]], "different lengths"),
        ([[-1]], [[1.0]], "negative"),
        ([[None]], [[1.0]], "holds a null"),
        ([[1]], [[None]], "holds a null"),
        ([[1]], [[float("nan")]], "finite"),
        ([[1]], [[float("inf")]], "finite"),
        ([1], [1.0], "must be a list"),
        ([[2**40]], [[1.0]], "Feature vector 0"),
    ],
)
def test_malformed_vectors_are_refused(indices, values, message):
    with pytest.raises(InputError, match=message):
        csr_from_lists([(pa.array(indices), pa.array(values))], N_FEATURES)


def test_columns_of_unequal_lengths_are_refused():
    one = columns([{1: 1.0}], (pa.list_(pa.int32()), pa.list_(pa.float32())))
    two = columns([{1: 1.0}, {}], (pa.list_(pa.int32()), pa.list_(pa.float32())))
    with pytest.raises(InputError, match=r"have \[1, 2\] rows"):
        csr_from_lists([one, two], N_FEATURES)
