"""A model's forward pass: all its nets, over any number of rows, in blocks that threads share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from threadpoolctl import ThreadpoolController

from propensity.models import forward_kernels as kernels
from propensity.models.calibration import MARGIN_LIMIT
from propensity.models.forward import FORWARDS, ROW_BLOCK, Block
from propensity.models.turns import take_turns

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.bfloat16 import WeightFormat
    from propensity.models.calibration import Calibration
    from propensity.models.encoded_rows import EncodedRows

    Array = npt.NDArray[np.float32]
    Positions = npt.NDArray[np.int32]
    Take = Callable[[int, Array], None]

CHUNK_ROWS: Final = 8 * ROW_BLOCK
"""Rows whose margins are held at a time by who reads them one after the other."""


class ForwardPass:
    """The mean margins of one or more nets, and their calibrated probabilities.

    The same rows have the same bits, whatever the number of threads. The rows beside a row change its last bits at
    most, and none where BLAS treats all rows of a block alike: OpenBLAS's kernel for AVX2 doesn't.
    """

    def __init__(
        self,
        network: str,
        nets: Sequence[dict[str, Array]],
        n_classes: int,
        sparse_format: WeightFormat = "float32",
    ) -> None:
        """Take nets of one shape.

        Args:
            network: Key of FORWARDS.
            nets: Each net's parameters by their path in it, float32.
            n_classes: K.
            sparse_format: To hold the weights of the sparse layers in; anything but float32 is a copy.
        """
        self._members = [FORWARDS[network](weights, n_classes, sparse_format) for weights in nets]
        self.shape = self._members[0].shape

    def margins(self, rows: EncodedRows, prior: Array, as_of_position: Positions, threads: int = 1) -> Iterator[Array]:
        """Yield the margins, float32, (CHUNK_ROWS or fewer, K - 1, N), of chunk after chunk.

        Args:
            rows: Encoded rows.
            prior: Log-odds of popularity, (n_as_of, N).
            as_of_position: Row's position in `prior`, (n_rows,).
            threads: That share the work.
        """
        for start in range(0, len(rows), CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, len(rows))
            out = np.empty((stop - start, *self.shape), np.float32)
            self.write_margins(rows.slice(start, stop), prior, as_of_position[start:stop], out, threads)
            yield out

    def write_margins(
        self, rows: EncodedRows, prior: Array, as_of_position: Positions, out: Array, threads: int = 1
    ) -> None:
        """Write the margins to `out`, float32, (n_rows, K - 1, N), C order; other arguments as for `margins`."""
        self._each_block(rows, prior, as_of_position, threads, None, out, None)

    def write_probabilities(
        self,
        rows: EncodedRows,
        prior: Array,
        as_of_position: Positions,
        calibration: Calibration,
        out: Array,
        threads: int = 1,
    ) -> None:
        """Write `at_least` of the calibrated margins to `out`; other arguments as for `write_margins`."""
        self._each_block(rows, prior, as_of_position, threads, calibration, out, None)

    def hand_on_probabilities(
        self,
        rows: EncodedRows,
        prior: Array,
        as_of_position: Positions,
        calibration: Calibration,
        take: Take,
        out: Array | None = None,
        threads: int = 1,
    ) -> None:
        """Hand `at_least` of the calibrated margins to `take`, block after block, while they are in a cache.

        Args:
            rows: Encoded rows.
            prior: As for `margins`.
            as_of_position: Likewise.
            calibration: The model's.
            take: Called with a block's first row and its probabilities, float32, (ROW_BLOCK or fewer, K - 1, N), by
                any of the threads, in any order. Without `out` they are overwritten when it has returned.
            out: Where they stay, float32, (n_rows, K - 1, N), C order; None where nobody reads them later.
            threads: That share the work.
        """
        self._each_block(rows, prior, as_of_position, threads, calibration, out, take)

    def _each_block(
        self,
        rows: EncodedRows,
        prior: Array,
        as_of_position: Positions,
        threads: int,
        calibration: Calibration | None,
        out: Array | None,
        take: Take | None,
    ) -> None:
        bases = [member.base(prior) for member in self._members]
        share, last = np.float32(1.0 / len(bases)), len(bases) - 1
        curve = None
        if calibration is not None:
            slope, shift = calibration.slope_and_shift()
            curve = slope, shift, np.float32(MARGIN_LIMIT)
        rows.pair_row  # noqa: B018 - worked out once, before threads would do so each

        def worker() -> Callable[[int], None]:
            space = self._members[0].workspace()
            block_of_own = np.empty((ROW_BLOCK, *self.shape), np.float32)

            def write(number: int) -> None:
                start, stop = number * ROW_BLOCK, min((number + 1) * ROW_BLOCK, len(rows))
                block = Block(rows, prior, as_of_position, start, stop)
                # A product has one shape, so a block that isn't full doesn't fit into what is left of `out`.
                in_place = out is not None and stop - start == ROW_BLOCK
                whole = out[start:stop] if out is not None and in_place else block_of_own
                own = whole[: stop - start]
                as_of, indptr = as_of_position[start:stop], rows.pair_indptr[start : stop + 1]
                for net, (member, base) in enumerate(zip(self._members, bases, strict=True)):
                    margins = whole if net == 0 else space.margins
                    member.write_margins(block, space, margins)
                    added = margins, base, as_of, share, net, own
                    if curve is None or net < last:
                        kernels.add_margins(*added, 0, stop - start)
                    else:
                        kernels.add_and_reach(*added, *curve, indptr, rows.pair_position)
                if out is not None and not in_place:
                    out[start:stop] = own
                if take is not None:
                    take(start, own)

            return write

        # One thread each: threads of BLAS's own would meet at every product, and a sum might be split otherwise.
        with _blas().limit(limits=1, user_api="blas"):
            take_turns(-(-len(rows) // ROW_BLOCK), threads, worker)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
