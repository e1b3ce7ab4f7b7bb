"""Numbers come back as they were, share their memory, and don't bring pandas along."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from propensity.arrow_numpy import arrow_array, numpy_array, repeated_instant, repeated_text
from propensity.warehouse.schemas import INSTANT


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.float32, np.float64])
def test_there_and_back(kind):
    values = np.arange(7).astype(kind)
    array = arrow_array(values)
    array.validate(full=True)
    assert array.equals(pa.array(values))
    back = numpy_array(array)
    assert back.dtype == kind
    assert np.array_equal(back, values)
    assert np.shares_memory(back, values)
    assert np.array_equal(numpy_array(array.slice(2, 3)), values[2:5])


def test_numbers_that_do_not_lie_in_one_piece():
    assert arrow_array(np.arange(10, dtype=np.int32)[::3]).to_pylist() == [0, 3, 6, 9]


@pytest.mark.parametrize("pieces", [[], [[]], [[1, 2, 3]], [[1], [], [2, 3]]])
def test_chunks(pieces):
    column = pa.chunked_array([pa.array(piece, pa.int32()) for piece in pieces], pa.int32())
    found = numpy_array(column)
    assert found.dtype == np.int32
    assert found.tolist() == column.to_pylist()


@pytest.mark.parametrize("array", [pa.array([1, None]), pa.array(["a"])], ids=["a null", "text"])
def test_what_is_no_number_is_refused(array):
    with pytest.raises(TypeError):
        numpy_array(array)


@pytest.mark.parametrize("text", ["", "us", "Zürich"])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_repeated_text(text, n):
    array = repeated_text(text, n)
    array.validate(full=True)
    assert array.equals(pa.array([text] * n, pa.string()))


@pytest.mark.parametrize("instant", [datetime(2024, 8, 2, 10, 0, 0, 123456, UTC), datetime(1969, 12, 31, tzinfo=UTC)])
def test_repeated_instant(instant):
    array = repeated_instant(instant, 3, INSTANT)
    array.validate(full=True)
    assert array.equals(pa.array([instant] * 3, INSTANT))
