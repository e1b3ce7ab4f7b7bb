"""A training step's time beside PyTorch's and a plain MXNet Module's, and beside what the machine could do.

The net: sparse input, two hidden layers, a logistic output for each category. Data are drawn (training_step_data.py);
every contender runs in a process of its own, in turn, round after round; figures are medians of the rounds. Each first
tries its thread settings and keeps the fastest.

- Ours (ours_training_step.py) is `descent.train_net`: shuffling, gathering each batch from the rows, the popularity
  prior and, unlike the Module, the loss are in its time. Peers are given a few batches ready-made.
- PyTorch (peer_torch_step.py): `EmbeddingBag(sparse=True)` and `Linear`, SparseAdam for the sparse part and fused Adam
  for the dense one; Adagrad; SGD.
- MXNet (peer_mxnet_step.py): the Module API with a row-sparse input weight and lazy updates.

All draw their first weights from the same distributions and must come to the same mean loss over the first steps.

The roof of a step is the larger of two times, at rates that machine_roof.py measures in the same run, the best of all
rounds: its arithmetic at the rate of sgemm at these layers' shapes, its memory at the bandwidth of a copy (bytes read
plus bytes written). Both are counted by `propensity.training.scaling.Job`, whose docstrings have the formulas; the
columns that a batch touches are counted in the rows drawn.

At last training_step_profile.py says where a step's time goes.

Run by `make bench`, or: python tests/benchmarks/bench_training_step.py
In seconds: python tests/benchmarks/bench_training_step.py --features 5000 --outputs 100 --batch 128 --rounds 1
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import training_step_data as data
from peer_environment import PEERS, has_torch
from shape_flags import positives_of, shape_flags, shape_of

from propensity.training.scaling import Job, zipf_occurrence
from propensity.training.sparse_linear import OPTIMIZERS

HERE = Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
THREADS = {
    "1 thread": {"OMP_NUM_THREADS": "1"},
    f"{CORES} threads": {"OMP_NUM_THREADS": str(CORES), "OMP_WAIT_POLICY": "passive"},
    # libgomp's own default: a thread that waits spins for a while.
    f"{CORES} threads, spinning": {
        "OMP_NUM_THREADS": str(CORES),
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "300000",
    },
}
REPORTED = 25
"""`train_net` reports after so many steps: what is timed is a multiple."""
AGREE = 0.15
"""How far mean losses over the first steps may lie apart: batches and first weights are not the same."""


@dataclass(frozen=True)
class Contender:
    """A net and optimizer of one library.

    Attributes:
        name: In the table.
        optimizer: One of OPTIMIZERS.
        command: Interpreter, script, and what comes after the directory, the optimizer and the number of steps.
    """

    name: str
    optimizer: str
    command: tuple[str, ...]

    def measure(self, directory: Path, steps: int, threads: str) -> dict[str, float]:
        """Run it once; return `seconds` a step, `loss`, and for ours `assembly`, seconds a batch."""
        interpreter, script, *more = self.command
        return run(interpreter, script, str(directory), self.optimizer, str(steps), *more, threads=threads)


OURS, TORCH, MODULE = "ours", "PyTorch", "MXNet Module"
ALIGNED = {"ours, category-aligned": 0, "the same with cross part": 2}
"""Nets with more parts, and the signals of their cross-category part."""


def ours(name: str, optimizer: str, network: str, cross_signals: int) -> Contender:
    return Contender(name, optimizer, (sys.executable, "ours_training_step.py", network, str(cross_signals)))


def contenders(optimizers: list[str]) -> list[Contender]:
    """Return those of the comparison of optimizers, in turn; where PyTorch is missing, say so and leave it out."""
    torch = has_torch()
    found = []
    for optimizer in optimizers:
        found.append(ours(OURS, optimizer, "feed_forward", 0))
        if torch:
            found.append(Contender(TORCH, optimizer, (str(PEERS), "peer_torch_step.py")))
        found.append(Contender(MODULE, optimizer, (sys.executable, "peer_mxnet_step.py")))
    return found


def run(interpreter: str, script: str, *arguments: str, threads: str) -> dict[str, float]:
    """Run a sibling script in a fresh process, since thread settings are read once; return what it prints last."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    for library in ("OPENBLAS", "MKL", "NUMBA"):
        environment[f"{library}_NUM_THREADS"] = THREADS[threads]["OMP_NUM_THREADS"]
    done = subprocess.run(
        [interpreter, str(HERE / script), *arguments],
        env=environment | THREADS[threads],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    printed: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return printed


def fastest_threads(contender: Contender, directory: Path) -> str:
    """Return the thread setting with the shortest step of one short run each."""
    seconds = {name: contender.measure(directory, REPORTED, name)["seconds"] for name in THREADS}
    return min(seconds, key=seconds.__getitem__)


def job_of(shape: data.Shape, optimizer_arrays: int) -> Job:
    """Return what the formulas of `propensity.training.scaling` read of a shape."""
    occurrence = zipf_occurrence(shape.features, shape.non_zeros)
    return Job(occurrence, shape.hidden, shape.outputs, shape.positives, optimizer_arrays)


@dataclass(frozen=True)
class Roof:
    """The least time of a step, see the module's docstring.

    Attributes:
        operations: Floating-point operations of a step.
        moved: Bytes of a step, by optimizer.
        flops: Measured, a second.
        bandwidth: Measured, bytes a second.
    """

    operations: float
    moved: dict[str, float]
    flops: float
    bandwidth: float

    @classmethod
    def of(cls, shape: data.Shape, touched: float, measured: list[dict[str, float]]) -> Roof:
        jobs = {name: job_of(shape, arrays) for name, arrays in OPTIMIZERS.items()}
        plain = jobs["sgd"]
        return cls(
            operations=plain.sparse_operations(shape.batch) + plain.dense_operations(shape.batch),
            moved={name: job.moved_bytes(shape.batch, touched) for name, job in jobs.items()},
            flops=max(each["flops"] for each in measured),
            bandwidth=max(each["bytes"] for each in measured),
        )

    def seconds(self, optimizer: str) -> float:
        return max(self.operations / self.flops, self.moved[optimizer] / self.bandwidth)

    def __str__(self) -> str:
        moved = ", ".join(
            f"{name} {moved / 1e6:.0f} MB {1e3 * moved / self.bandwidth:.1f} ms" for name, moved in self.moved.items()
        )
        return (
            f"roof: sgemm {self.flops / 1e9:.0f} GFLOP/s, copy {self.bandwidth / 1e9:.1f} GB/s; a step's arithmetic "
            f"{self.operations / 1e9:.2f} GFLOP {1e3 * self.operations / self.flops:.1f} ms; its memory: {moved}"
        )


Results = dict[Contender, list[dict[str, float]]]
"""Each contender's figures, a round each, in turn."""


def compare(directory: Path, shape: data.Shape, given: argparse.Namespace) -> None:
    """Measure all contenders in turn and print the tables; fail if they don't train the same net."""
    everyone = contenders(given.optimizers)
    threads = {contender: fastest_threads(contender, directory) for contender in everyone}
    plain = everyone[0]
    for name, cross_signals in ALIGNED.items():
        everyone.append(ours(name, plain.optimizer, "category_aligned", cross_signals))
        threads[everyone[-1]] = threads[plain]
    results: Results = {contender: [] for contender in everyone}
    roofs = []
    for _ in range(given.rounds):
        roofs.append(run(sys.executable, "machine_roof.py", str(directory), threads=f"{CORES} threads"))
        for contender, runs in results.items():
            runs.append(contender.measure(directory, given.steps, threads[contender]))
    roof = Roof.of(shape, data.read(directory).touched(), roofs)
    print(roof)
    compared = {contender: runs for contender, runs in results.items() if contender.name not in ALIGNED}
    print_optimizers(shape, roof, compared, threads)
    print_parts(shape, plain, results)
    for name, network, cross_signals in (
        (plain.name, "feed_forward", 0),
        *((name, "category_aligned", cross_signals) for name, cross_signals in ALIGNED.items()),
    ):
        arguments = (str(directory), plain.optimizer, str(REPORTED), network, str(cross_signals))
        print_profile(name, run(sys.executable, "training_step_profile.py", *arguments, threads="1 thread"))


def print_profile(name: str, parts: dict[str, float]) -> None:
    """Print what each part of a step takes of one thread."""
    whole = sum(parts.values())
    print(f"\n{name}, on one thread: {1e3 * whole:.1f} ms of the processor a step")
    for part, seconds in parts.items():
        print(f"{part:55s}{1e3 * seconds:8.1f}{seconds / whole:7.0%}")


def print_optimizers(shape: data.Shape, roof: Roof, results: Results, threads: dict[Contender, str]) -> None:
    """Print each contender's step beside ours with the same optimizer, and beside the roof."""
    print(f"\n{'':28s}{'threads':20s}{'ms a step':>10s}{'rows/s':>9s}{'ours is':>9s}{'of roof':>9s}{'loss':>8s}")
    for optimizer in dict.fromkeys(contender.optimizer for contender in results):
        losses, own = {}, []
        for contender, runs in results.items():
            if contender.optimizer != optimizer:
                continue
            own = runs if contender.name == OURS else own  # ours come first
            seconds = median(runs, "seconds")
            ratio = "" if runs is own else f"{ratio_of(runs, own):.2f}x"
            rate, share = shape.batch / seconds, roof.seconds(optimizer) / seconds
            losses[contender.name] = median(runs, "loss")
            print(
                f"{optimizer + ', ' + contender.name:28s}{threads[contender]:20s}{1e3 * seconds:10.1f}{rate:9,.0f}"
                f"{ratio:>9s}{share:9.0%}{losses[contender.name]:8.4f}"
            )
        if max(losses.values()) > (1 + AGREE) * min(losses.values()):
            raise RuntimeError(f"The contenders don't train the same net: losses {losses}")


def print_parts(shape: data.Shape, plain: Contender, results: Results) -> None:
    """Print what other parts of the net add to the step, and how long batches take to gather."""
    print(f"\n{plain.optimizer}, {shape.seen} seen categories of {shape.outputs:,} a row, {shape.signals} signals each")
    for contender, runs in results.items():
        if contender is plain or contender.name in ALIGNED:
            print(
                f"{contender.name:28s}{1e3 * median(runs, 'seconds'):10.1f} ms a step, "
                f"{ratio_of(runs, results[plain]):.2f} of the plain net's; a thread beside it gathers batches, "
                f"{1e3 * median(runs, 'assembly'):.1f} ms each when alone"
            )


def median(runs: list[dict[str, float]], figure: str) -> float:
    return statistics.median(run[figure] for run in runs)


def ratio_of(runs: list[dict[str, float]], to: list[dict[str, float]]) -> float:
    """Return the median over rounds of one's seconds by the other's in the same round."""
    return statistics.median(one["seconds"] / other["seconds"] for one, other in zip(runs, to, strict=True))


def main() -> None:
    """Print the comparison."""
    parser = shape_flags(
        "A training step beside PyTorch's and MXNet's Module.", batch=1_024, seen=40, signals=15, steps=50
    )
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS), help="default: all")
    given = parser.parse_args()
    if given.steps % REPORTED:
        parser.error(f"--steps must be a multiple of {REPORTED}")
    shape = shape_of(
        given,
        batch=given.batch,
        steps=data.WARM_UP + given.steps + 1,  # an epoch's last step is reported late
        positives=positives_of(given.outputs),
        seen=given.seen,
        signals=given.signals,
    )
    print(
        f"{shape.features:,} features, {shape.non_zeros} a row, {shape.hidden[0]}-{shape.hidden[1]}-{shape.outputs:,}, "
        f"batch {shape.batch:,}, {CORES} cores; medians of {given.rounds} rounds of {given.steps} steps"
    )
    with tempfile.TemporaryDirectory() as name:
        data.write(Path(name), shape)
        print(f"{data.read(Path(name)).touched():,.0f} distinct features a batch")
        compare(Path(name), shape, given)


if __name__ == "__main__":
    main()
