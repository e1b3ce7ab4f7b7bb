"""Examples on disk: Arrow files of bounded record batches, one file per as_of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from propensity.features.vectors import csr_from_lists
from propensity.training.examples import Examples

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_matrix

CHUNK_ROWS: Final = 16_384
"""Rows of a chunk at most."""
SCHEMA: Final = pa.schema(
    {
        "customer_id": pa.string(),
        "feature_indices": pa.list_(pa.int32()),
        "feature_values": pa.list_(pa.float32()),
        "label_indices": pa.list_(pa.int32()),
        "label_classes": pa.list_(pa.int8()),
    }
)


@dataclass(frozen=True)
class StoredExamples:
    """Labelled examples in files; see `examples.ExampleChunks`. Memory holds a chunk at a time.

    Attributes:
        files: File of each as_of.
        as_of: As in `Examples`, likewise the next.
        popularity: (n_as_of, n_categories).
        rows_per_as_of: int64, (n_as_of,).
        n_features: Columns of the features.
    """

    files: tuple[Path, ...]
    as_of: npt.NDArray[np.datetime64]
    popularity: npt.NDArray[np.float32]
    rows_per_as_of: npt.NDArray[np.int64]
    n_features: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.rows_per_as_of.sum())

    def at(self, keep: npt.NDArray[np.bool_]) -> StoredExamples:
        """Return the examples of the as_ofs where `keep`, bool (n_as_of,), is set; the files are the same."""
        return replace(
            self,
            files=tuple(file for file, kept in zip(self.files, keep, strict=True) if kept),
            as_of=self.as_of[keep],
            popularity=self.popularity[keep],
            rows_per_as_of=self.rows_per_as_of[keep],
        )

    def chunks(self) -> Iterator[Examples]:
        """Read the rows by as_of, CHUNK_ROWS at most at a time."""
        for position, file in enumerate(self.files):
            # Read, not mapped: mapped pages count as this process's memory.
            with pa.OSFile(str(file)) as source, pa.ipc.open_file(source) as reader:
                for number in range(reader.num_record_batches):
                    yield self._chunk(position, reader.get_batch(number))

    def _chunk(self, position: int, batch: pa.RecordBatch) -> Examples:
        customer_id, *lists = batch.columns
        return Examples(
            customer_id=customer_id.to_numpy(zero_copy_only=False),
            as_of=self.as_of,
            as_of_position=np.full(batch.num_rows, position, np.int32),
            features=csr_from_lists([(lists[0], lists[1])], self.n_features),
            labels=csr_from_lists([(lists[2], lists[3])], self.popularity.shape[1]).astype(np.int8),
            popularity=self.popularity,
        )


class ExampleFile:
    """Writes the rows of one as_of into a new file: `with ExampleFile(path) as file: file.append(…)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._writer = pa.ipc.new_file(str(path), SCHEMA)

    def __enter__(self) -> ExampleFile:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._writer.close()

    def append(self, customer_id: npt.NDArray[np.object_], features: csr_matrix, labels: csr_matrix) -> None:
        """Write rows, features float32 and labels int8, as chunks of CHUNK_ROWS at most.

        Raises:
            OSError: The disk is full.
        """
        for start in range(0, len(customer_id), CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, len(customer_id))
            columns = [
                pa.array(customer_id[start:stop], pa.string()),
                *_lists(features, start, stop, pa.float32()),
                *_lists(labels, start, stop, pa.int8()),
            ]
            self._writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            self.rows += stop - start


def store_examples(examples: Examples, directory: Path) -> StoredExamples:
    """Write labelled examples, ordered by as_of, into files in a new directory.

    Side effects: creates the directory; whoever gave it removes it.
    """
    directory.mkdir()
    ends = np.cumsum(examples.rows_per_as_of)
    files = []
    for position, (stop, rows) in enumerate(zip(ends, examples.rows_per_as_of, strict=True)):
        with ExampleFile(directory / f"{position}.arrow") as file:
            of_as_of = slice(int(stop - rows), int(stop))
            file.append(examples.customer_id[of_as_of], examples.features[of_as_of], examples.labels[of_as_of])  # type: ignore[index]
        files.append(file.path)
    return StoredExamples(
        tuple(files), examples.as_of, examples.popularity, examples.rows_per_as_of, examples.n_features
    )


def _lists(matrix: csr_matrix, start: int, stop: int, kind: pa.DataType) -> tuple[pa.ListArray, pa.ListArray]:
    """Return rows of a CSR as lists of indices and of values."""
    bounds = matrix.indptr[start : stop + 1]
    offsets = pa.array((bounds - bounds[0]).astype(np.int32))
    inside = slice(int(bounds[0]), int(bounds[-1]))
    return (
        pa.ListArray.from_arrays(offsets, pa.array(matrix.indices[inside].astype(np.int32, copy=False))),
        pa.ListArray.from_arrays(offsets, pa.array(matrix.data[inside], kind)),
    )
