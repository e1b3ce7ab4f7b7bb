"""Encoded examples on disk, in row groups: written once, read in random order with bounded memory.

Each column is a file of its own, its numbers one behind the other; a row group is a run of GROUP_ROWS rows, found in
each file by the counts that are kept in memory. A pass over more than `window_bytes` reads windows of randomly chosen
groups and shuffles the rows of a window: rows of any as_ofs meet, and the disk is read in long runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.sparse import csr_matrix

from propensity.models.encoded_rows import EncodedRows
from propensity.training.encoded_examples import EncodedExamples, encode

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.encoding import Encoder
    from propensity.training.examples import ExampleChunks

    Int64s = npt.NDArray[np.int64]

GROUP_ROWS: Final = 512
"""Rows of a group at most."""
IN_ORDER_BYTES: Final = 1 << 26
"""Memory for reading rows in their own order."""
ROW, VALUE, PAIR, LABEL = range(4)
"""What a column has an entry of: rows, non-zeros of the deep part's input, seen pairs, labels."""


@dataclass(frozen=True)
class Column:
    """A file of numbers.

    Attributes:
        dtype: Of a number.
        unit: What it has an entry of: ROW, VALUE, PAIR or LABEL.
        width: Numbers of an entry of a matrix; None for a vector.
    """

    dtype: type[np.number[Any]]
    unit: int
    width: int | None = None

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry."""
        return np.dtype(self.dtype).itemsize * (1 if self.width is None else self.width)


@dataclass(frozen=True)
class EncodedFiles:
    """Encoded, labelled examples in the files that `write_encoded` made; see `encoded_examples.EncodedSource`.

    Attributes:
        directory: Of the files.
        columns: By file name.
        ends: Rows, values, pairs and labels up to the end of each group, the first entry 0, int64, (n_groups + 1, 4).
        prior: Log-odds of popularity, float32, (n_as_of, N).
        n_columns: Width of the deep part's input.
        window_bytes: Memory for rows that are shuffled together, about. Where all of them fit they stay in memory.
    """

    directory: Path
    columns: dict[str, Column]
    ends: Int64s
    prior: npt.NDArray[np.float32]
    n_columns: int
    window_bytes: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.ends[-1, ROW])

    @property
    def n_groups(self) -> int:
        """Row groups."""
        return len(self.ends) - 1

    @property
    def n_bytes(self) -> int:
        """Memory that all rows take while they are read."""
        per_entry = np.zeros(4, np.int64)
        for column in self.columns.values():
            per_entry[column.unit] += column.entry_bytes
        per_entry[ROW] += 3 * 4 + 8  # three CSRs' and the pairs' indptr
        per_entry[PAIR] += self.columns["cross_signals"].entry_bytes  # the CSR's indices
        return int(self.ends[-1] @ per_entry)

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[EncodedExamples, Int64s]]:
        """Return an iterator over windows of random groups, each with a random order of its rows.

        Where all rows fit they are the one window, in a random order: the same as of `EncodedExamples`.
        """
        n_windows = self._windows(self.window_bytes)
        if n_windows == 1:
            return self._all.shuffled(rng)
        windows = np.array_split(rng.permutation(self.n_groups), n_windows)
        return self._shuffled(windows, rng.integers(2**63, size=n_windows))

    @cached_property
    def _all(self) -> EncodedExamples:
        return self.read(np.arange(self.n_groups))

    def _shuffled(self, windows: list[Int64s], seeds: Int64s) -> Iterator[tuple[EncodedExamples, Int64s]]:
        for groups, seed in zip(windows, seeds, strict=True):
            n_rows = int((self.ends[groups + 1, ROW] - self.ends[groups, ROW]).sum())
            yield self.read(np.sort(groups)), np.random.default_rng(seed).permutation(n_rows)

    def in_order(self) -> Iterator[EncodedExamples]:
        """Yield all rows in their own order, IN_ORDER_BYTES at a time."""
        for groups in np.array_split(np.arange(self.n_groups), self._windows(min(self.window_bytes, IN_ORDER_BYTES))):
            yield self.read(groups)

    def read(self, groups: Int64s) -> EncodedExamples:
        """Read some groups, given in rising order."""
        runs = np.split(groups, np.flatnonzero(np.diff(groups) != 1) + 1)
        bounds = np.array([(self.ends[run[0]], self.ends[run[-1] + 1]) for run in runs])  # (n_runs, 2, 4)
        found = {name: self._read(name, column, bounds[:, :, column.unit]) for name, column in self.columns.items()}
        n_rows, n_categories = len(found["as_of_position"]), self.prior.shape[1]
        pair_indptr = _indptr(found["pair_count"])
        n_cross = found["cross_signals"].shape[1]
        columns: Any = found["pair_position"][:, None] * np.int32(n_cross) + np.arange(n_cross, dtype=np.int32)
        return EncodedExamples(
            rows=EncodedRows(
                deep=_csr(
                    found["deep_value"], found["deep_column"], _indptr(found["deep_count"]), (n_rows, self.n_columns)
                ),
                customer=found["customer"],
                cross=_csr(
                    found["cross_signals"].ravel(),
                    columns.ravel(),
                    pair_indptr * n_cross,
                    (n_rows, max(n_categories * n_cross, 1)),
                ),
                pair_indptr=pair_indptr,
                pair_position=found["pair_position"],
                pair_signals=found["pair_signals"],
            ),
            prior=self.prior,
            as_of_position=found["as_of_position"],
            labels=_csr(
                found["label_class"], found["label_position"], _indptr(found["label_count"]), (n_rows, n_categories)
            ),
        )

    def _windows(self, n_bytes: int) -> int:
        return max(1, min(self.n_groups, -(-self.n_bytes // n_bytes)))

    def _read(self, name: str, column: Column, bounds: Int64s) -> npt.NDArray[Any]:
        """Read entries from runs of them, (n_runs, 2), into one array, (n,) or, of a wide column, (n, width)."""
        n = int((bounds[:, 1] - bounds[:, 0]).sum())
        array = np.empty(n if column.width is None else (n, column.width), column.dtype)
        flat = array.reshape(-1).view(np.uint8).data
        size, done = column.entry_bytes, 0
        with (self.directory / name).open("rb", buffering=0) as file:
            for start, stop in bounds.tolist():
                file.seek(start * size)
                end = done + (stop - start) * size
                while done < end:  # a read gives 2 GB at most
                    got = file.readinto(flat[done:end])
                    if not got:
                        raise OSError(f"{file.name} is shorter than it was written")
                    done += got
        return array


def write_encoded(directory: Path, encoder: Encoder, examples: ExampleChunks, window_bytes: int) -> EncodedFiles:
    """Encode labelled examples chunk by chunk into files in an empty directory.

    Raises:
        OSError: The disk is full.

    Side effects: writes into the directory; whoever gave it removes it.
    """
    columns = {
        "deep_count": Column(np.int32, ROW),
        "pair_count": Column(np.int32, ROW),
        "label_count": Column(np.int32, ROW),
        "as_of_position": Column(np.int32, ROW),
        "customer": Column(np.float32, ROW, len(encoder.customer_signals)),
        "deep_column": Column(np.int32, VALUE),
        "deep_value": Column(np.float32, VALUE),
        "pair_position": Column(np.int32, PAIR),
        "pair_signals": Column(np.float32, PAIR, len(encoder.aligned_signals)),
        "cross_signals": Column(np.float32, PAIR, len(encoder.cross_signals)),
        "label_position": Column(np.int32, LABEL),
        "label_class": Column(np.int8, LABEL),
    }
    ends = [np.zeros((1, 4), np.int64)]
    with ExitStack() as stack:
        files = {name: stack.enter_context((directory / name).open("wb", buffering=0)) for name in columns}
        for chunk in examples.chunks():
            encoded = encode(encoder, chunk)
            for name, array in _arrays(encoded).items():
                data = np.ascontiguousarray(array, columns[name].dtype).reshape(-1).view(np.uint8)
                while len(data):  # a write takes 2 GB at most
                    data = data[files[name].write(data.data) :]
            ends.append(ends[-1][-1] + _ends(encoded))
    return EncodedFiles(
        directory=directory,
        columns=columns,
        ends=np.concatenate(ends),
        prior=encoder.prior(examples.popularity),
        n_columns=max(encoder.n_columns, 1),
        window_bytes=window_bytes,
    )


def _arrays(encoded: EncodedExamples) -> dict[str, npt.NDArray[Any]]:
    rows, labels = encoded.rows, encoded.labels
    return {
        "deep_count": np.diff(rows.deep.indptr),
        "pair_count": np.diff(rows.pair_indptr),
        "label_count": np.diff(labels.indptr),
        "as_of_position": encoded.as_of_position,
        "customer": rows.customer,
        "deep_column": rows.deep.indices,
        "deep_value": rows.deep.data,
        "pair_position": rows.pair_position,
        "pair_signals": rows.pair_signals,
        "cross_signals": rows.cross.data,
        "label_position": labels.indices,
        "label_class": labels.data,
    }


def _ends(encoded: EncodedExamples) -> Int64s:
    """Return rows, values, pairs and labels up to the end of each group of these rows."""
    stops = np.append(np.arange(GROUP_ROWS, len(encoded), GROUP_ROWS), len(encoded))
    rows = encoded.rows
    counted = (rows.deep.indptr, rows.pair_indptr, encoded.labels.indptr)
    return np.stack([stops, *(indptr[stops] for indptr in counted)], axis=1).astype(np.int64)


def _indptr(counts: npt.NDArray[np.int32]) -> Int64s:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)))


def _csr(
    values: npt.NDArray[Any], columns: npt.NDArray[np.int32], indptr: Int64s, shape: tuple[int, int]
) -> csr_matrix:
    # SciPy copies indices whose type differs from the indptr's.
    kind = np.int32 if indptr[-1] <= np.iinfo(np.int32).max else np.int64
    return csr_matrix((values, columns, indptr.astype(kind)), shape=shape)
