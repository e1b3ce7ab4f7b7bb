"""How long a training step would take on several machines or on a GPU: a cost model from a few measured rates.

Nothing here runs on several machines. `tests/benchmarks/bench_scaling_plan.py` measures the rates on this one, holds
the model against a step that it wasn't calibrated on, and prints what it says beyond; docs/scaling_training.md
discusses it.

The net is a sparse input layer and dense layers above it. A row has z non-zeros, a batch of B rows touches U(B)
distinct columns, the first hidden layer is h wide. Every machine takes B rows a step, so W machines take W B: a step's
time is one machine's arithmetic and then its exchange with the others, nothing overlapped. Bytes are those that one
machine sends; by symmetry it receives as many, and a link carries both at once.

- Parameter servers, one on each machine, hold the input weight by rows: pull the touched rows, push their gradients.
  A machine sends U(B) rows as worker and as many as server, less its own share: 2 U(B) (4h + 8) (W - 1) / W.
- Hash sharding: each machine keeps the weight rows of the columns that hash to it, and they never move. It gets the
  others' non-zeros of its columns, sends each row's partial sum of h numbers to the row's machine and gets the gradient
  of that sum. A row's z columns fall on W (1 - (1 - 1/W)^z) machines, of which (W - 1) / W are others:
  B (8 z (W - 1) / W + 2 * 4 h (W - 1) (1 - (1 - 1/W)^z)).
- Both add up the gradients of the D dense weights by recursive halving and doubling (Thakur et al. 2005), in
  2 log2 W messages: 2 * 4 D (W - 1) / W. Servers would send as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Float64Array = npt.NDArray[np.float64]

FLOAT, COLUMN, VALUE, LABEL = 4, 8, 8, 4
"""Bytes: of a float32; of a row's number, int64, as the kvstore sends it; of a non-zero's int32 column and float32; of
a positive label's int32 column."""
MOST_MACHINES: Final = 1024


@dataclass(frozen=True)
class Job:
    """Shapes of a training.

    Attributes:
        occurrence: Share of the rows that have each column, float64, (n_columns,), by falling share.
        hidden: Widths of the hidden layers.
        outputs: N (K - 1).
        positives: Labels of a row that aren't "none"; those that are take no memory.
        optimizer_arrays: Arrays of the weights' size that the optimizer keeps: 2 for Adam.
    """

    occurrence: Float64Array
    hidden: tuple[int, ...]
    outputs: int
    positives: float
    optimizer_arrays: int

    @property
    def non_zeros(self) -> float:
        """Mean of a row."""
        return float(self.occurrence.sum())

    @property
    def dense_weights(self) -> int:
        """Weights above the input layer, biases left out."""
        widths = (*self.hidden, self.outputs)
        return sum(below * above for below, above in pairwise(widths))

    def sparse_operations(self, rows: int) -> float:
        """Floating-point operations of the input layer: forward, and the gradient of its weight."""
        return 4 * rows * self.non_zeros * self.hidden[0]

    def dense_operations(self, rows: int) -> float:
        """The same of the layers above: forward, weights' gradient, inputs' gradient."""
        return 6 * rows * self.dense_weights

    def touched(self, rows: int) -> Float64Array:
        """Return the chance that any of the rows has each column, (n_columns,); their sum is U(rows)."""
        return np.asarray(-np.expm1(rows * np.log1p(-np.minimum(self.occurrence, 1 - 1e-12))))

    def n_touched(self, rows: int) -> float:
        """Return U(rows), the expected number of distinct columns of a batch."""
        return float(self.touched(rows).sum())

    def moved_bytes(self, rows: int, touched: float | None = None) -> float:
        """Return what a step reads and writes if only activations and gradients stay in caches.

        Touched and dense weights with the optimizer's arrays are read once and written once, the batch's non-zeros are
        read in both directions and its positive labels once.

        Args:
            rows: Of the batch.
            touched: Columns of it, where they were counted; by default U(rows).
        """
        columns = self.n_touched(rows) if touched is None else touched
        weights = columns * self.hidden[0] + self.dense_weights
        return (
            2 * FLOAT * (1 + self.optimizer_arrays) * weights
            + 2 * VALUE * rows * self.non_zeros
            + LABEL * rows * self.positives
        )


@dataclass(frozen=True)
class Machine:
    """Rates of one machine.

    Attributes:
        sparse: Operations a second that the input layer reaches, its optimizer's step included.
        dense: The same of all the rest of a step.
        kvstore: Bytes a second that a worker and a server of MXNet's kvstore exchange, the server's step included.
    """

    sparse: float
    dense: float
    kvstore: float

    def sparse_seconds(self, job: Job, rows: int) -> float:
        """Return what the input layer takes of a step."""
        return job.sparse_operations(rows) / self.sparse

    def dense_seconds(self, job: Job, rows: int) -> float:
        """Return what the rest takes of it."""
        return job.dense_operations(rows) / self.dense

    def seconds(self, job: Job, rows: int) -> float:
        """Return a step's time on this machine alone."""
        return self.sparse_seconds(job, rows) + self.dense_seconds(job, rows)

    def times(self, factor: float) -> Machine:
        """Return one whose arithmetic is as many times as fast, with the same kvstore."""
        return Machine(self.sparse * factor, self.dense * factor, self.kvstore)


@dataclass(frozen=True)
class Network:
    """Between machines: bytes a second of a link in each direction, and seconds until a message is there."""

    bandwidth: float
    latency: float

    def seconds(self, sent: float, messages: int) -> float:
        """Return the time to send so many bytes in messages that wait for each other."""
        return sent / self.bandwidth + messages * self.latency


def parameter_servers(job: Job, machine: Machine, network: Network, machines: int, rows: int) -> float:
    """Return a step's seconds with servers that are limited by the network alone."""
    sent = pulled_bytes(job, machines, rows)
    return machine.seconds(job, rows) + network.seconds(sent, 2) + _all_reduce(job, network, machines)


def kvstore(job: Job, machine: Machine, network: Network, machines: int, rows: int) -> float:
    """Return a step's seconds with MXNet's kvstore, whose own rate limits the exchange where the network is faster.

    The columns must have been shuffled: see `first_server_load`. What a server spends on the optimizer is counted
    twice, in the machine's rate and in the kvstore's.
    """
    # Its rate was measured over what a worker pulls and pushes, which is half of what its machine sends and receives.
    own = 2 * job.n_touched(rows) * (FLOAT * job.hidden[0] + COLUMN) / machine.kvstore
    exchange = max(network.seconds(pulled_bytes(job, machines, rows), 2), own)
    return machine.seconds(job, rows) + exchange + _all_reduce(job, network, machines)


def hash_sharding(job: Job, machine: Machine, network: Network, machines: int, rows: int) -> float:
    """Return a step's seconds with the input weight's rows kept on the machines that their columns hash to."""
    slowest = machine.sparse_seconds(job, rows) * heaviest_shard(job, machines)
    sent = partial_sum_bytes(job, machines, rows)
    return slowest + machine.dense_seconds(job, rows) + network.seconds(sent, 3) + _all_reduce(job, network, machines)


PLANS: Final[dict[str, Callable[[Job, Machine, Network, int, int], float]]] = {
    "MXNet's kvstore": kvstore,
    "parameter servers": parameter_servers,
    "hash sharding": hash_sharding,
}
"""Each gives a step's seconds, from the number of machines and each one's rows of a step."""


def speedup(plan: str, job: Job, machine: Machine, network: Network, machines: int, rows: int) -> float:
    """Return the rows a second of `machines` machines by that of one; `plan` is a key of PLANS."""
    if machines == 1:
        return 1.0
    return machines * machine.seconds(job, rows) / PLANS[plan](job, machine, network, machines, rows)


def pays_from(plan: str, job: Job, machine: Machine, network: Network, rows: int) -> int | None:
    """Return the fewest machines that are faster than one; None where up to MOST_MACHINES aren't."""
    return next((n for n in range(2, MOST_MACHINES + 1) if speedup(plan, job, machine, network, n, rows) > 1.0), None)


def pulled_bytes(job: Job, machines: int, rows: int) -> float:
    """Return what a machine sends for the input weight with parameter servers, as worker and as server."""
    others = (machines - 1) / machines
    return 2 * job.n_touched(rows) * (FLOAT * job.hidden[0] + COLUMN) * others


def partial_sum_bytes(job: Job, machines: int, rows: int) -> float:
    """Return what a machine sends for the input weight with hash sharding."""
    other_machines = (machines - 1) * (1 - math.pow(1 - 1 / machines, job.non_zeros))
    own_non_zeros = VALUE * job.non_zeros * (machines - 1) / machines
    return rows * (own_non_zeros + 2 * FLOAT * job.hidden[0] * other_machines)


def sharding_moves_less_up_to(job: Job, rows: int) -> int:
    """Return the most machines with which hash sharding sends fewer bytes than parameter servers."""
    everyone = range(2, MOST_MACHINES + 1)
    dearer = (n for n in everyone if partial_sum_bytes(job, n, rows) >= pulled_bytes(job, n, rows))
    return next(dearer, MOST_MACHINES + 1) - 1


def heaviest_shard(job: Job, machines: int) -> float:
    """Return the non-zeros of the machine with the most of them by the mean machine's, columns dealt out at random."""
    shard = np.random.default_rng(0).integers(0, machines, len(job.occurrence))
    load = np.bincount(shard, job.occurrence, machines)
    return float(load.max() / load.mean())


def first_server_load(job: Job, machines: int, rows: int) -> float:
    """Return what the first server serves by the mean one, were columns left in their order.

    MXNet's kvstore gives each server an equal range of rows, and the encoder orders columns by falling frequency.
    """
    touched = job.touched(rows)
    return float(touched[: math.ceil(len(touched) / machines)].sum() * machines / touched.sum())


@dataclass(frozen=True)
class Gpu:
    """A GPU as its maker describes it.

    Attributes:
        operations: float32 a second, without tensor cores.
        bandwidth: Of its memory, bytes a second.
        link: To the host's memory, bytes a second in each direction.
    """

    operations: float
    bandwidth: float
    link: float

    def least_seconds(self, job: Job, rows: int) -> float:
        """Return the least time of a step with all of the net on the GPU: its arithmetic, memory or link."""
        operations = job.sparse_operations(rows) + job.dense_operations(rows)
        batch = VALUE * rows * job.non_zeros
        return max(operations / self.operations, job.moved_bytes(rows) / self.bandwidth, batch / self.link)

    def least_seconds_beside(self, job: Job, machine: Machine, rows: int) -> float:
        """Return the least time with the input layer on the host, as it is today, and the rest on the GPU.

        The input layer's sums go to the GPU and their gradient comes back.
        """
        moved = 2 * FLOAT * (1 + job.optimizer_arrays) * job.dense_weights + LABEL * rows * job.positives
        dense = max(job.dense_operations(rows) / self.operations, moved / self.bandwidth)
        return machine.sparse_seconds(job, rows) + 2 * FLOAT * rows * job.hidden[0] / self.link + dense


def zipf_occurrence(columns: int, non_zeros: float) -> Float64Array:
    """Return the shares of rows of columns by Zipf's law, if a row has `non_zeros` different ones: 1 - exp(-a / rank).

    `a` makes the shares' sum `non_zeros`: different columns drawn one after the other come close to that.
    """
    rank = np.arange(1, columns + 1, dtype=np.float64)
    low, high = 0.0, 1e3 * max(non_zeros, 1.0)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if -np.expm1(-middle / rank).sum() < non_zeros else (low, middle)
    return np.asarray(-np.expm1(-low / rank))


def _all_reduce(job: Job, network: Network, machines: int) -> float:
    sent = 2 * FLOAT * job.dense_weights * (machines - 1) / machines
    return network.seconds(sent, 2 * math.ceil(math.log2(machines)))
