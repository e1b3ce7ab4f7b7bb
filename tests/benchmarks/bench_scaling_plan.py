"""What more machines or a GPU would give a training: measured rates of this machine, and a cost model beyond it.

Measured, in this run: a step of the platform's own training (ours_training_step.py, plain net with Adam) at the shapes
of bench_training_step.py; the same with one non-zero a row, whose step is all but the sparse layer's; the copy
bandwidth (machine_roof.py); and what MXNet's kvstore exchanges over the loopback interface (kvstore_loopback.py). From
the first two follow the rates of the sparse and of the dense part. The model (`propensity.training.scaling`, whose
docstring has the formulas) is then held against a measured step of other shapes. All after that is extrapolated:
several machines are one machine's arithmetic and the bytes on the network, GPUs are their maker's figures, and a
machine of more cores is this one times a factor. Columns follow Zipf's law, as they do in the benchmark's rows.

Run by `make bench`, or: python tests/benchmarks/bench_scaling_plan.py
In seconds: python tests/benchmarks/bench_scaling_plan.py --features 5000 --outputs 100 --batch 128
"""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import training_step_data as data
from bench_training_step import CORES, HERE, REPORTED, job_of, ours, run
from shape_flags import positives_of, shape_flags, shape_of

from propensity.training.scaling import (
    PLANS,
    Gpu,
    Job,
    Machine,
    Network,
    first_server_load,
    heaviest_shard,
    partial_sum_bytes,
    pays_from,
    pulled_bytes,
    sharding_moves_less_up_to,
    speedup,
)
from propensity.training.sparse_linear import OPTIMIZERS

GPUS = {
    # float32 without tensor cores, memory, PCIe in one direction; as published for the SXM boards and the T4.
    "T4": Gpu(8.1e12, 320e9, 16e9),
    "A100 80GB": Gpu(19.5e12, 2_039e9, 32e9),
    "H200": Gpu(67e12, 4_800e9, 64e9),
}
GIGABITS = (1, 10, 100)
LATENCY = 50e-6
"""Seconds until a message is there, taken for TCP between machines of a data centre."""
MACHINES = (2, 4, 8, 16, 64)
EPOCH_MACHINES, EPOCH_GIGABITS = 16, 10
SETTING = f"{CORES} threads"
ADAM = OPTIMIZERS["adam"]
JOB_ROWS, JOB_OUTPUTS = 300_000_000, 3_000
"""The published job's; its features are the measured shape's."""


@dataclass(frozen=True)
class Measured:
    """What was measured here.

    Attributes:
        step: Seconds.
        thin: Seconds of a step with one non-zero a row.
        gathered: Seconds for which a thread of its own gathers a batch, alone.
        copied: Bytes read plus written a second.
        features: What the installed MXNet was built with.
        kvstore: Bytes a second, by what kvstore_loopback.py calls them; empty where MXNet has none.
    """

    step: float
    thin: float
    gathered: float
    copied: float
    features: dict[str, bool]
    kvstore: dict[str, float]

    def machine(self, job: Job, rows: int) -> Machine:
        """Return the rates that make the model's step the measured ones."""
        thin = replace(job, occurrence=job.occurrence[:1])
        # Without a kvstore in this build its plan is limited by the network alone.
        return Machine(
            sparse=(job.sparse_operations(rows) - thin.sparse_operations(rows)) / max(self.step - self.thin, 1e-9),
            dense=job.dense_operations(rows) / self.thin,
            kvstore=self.kvstore.get("exchange", float("inf")),
        )


def step(shape: data.Shape, rounds: int) -> dict[str, float]:
    """Return medians over rounds of what ours_training_step.py prints: `seconds` a step, `assembly` of a batch."""
    plain = ours("ours", "adam", "feed_forward", 0)
    with tempfile.TemporaryDirectory() as name:
        data.write(Path(name), shape)
        runs = [plain.measure(Path(name), REPORTED, SETTING) for _ in range(rounds)]
    return {figure: statistics.median(one[figure] for one in runs) for figure in ("seconds", "assembly")}


def measure(shape: data.Shape, job: Job, rounds: int) -> Measured:
    """Measure this machine."""
    with tempfile.TemporaryDirectory() as name:
        data.write(Path(name), shape)
        roof = run(sys.executable, "machine_roof.py", name, threads=SETTING)
    touched = str(round(job.n_touched(shape.batch)))
    command = [sys.executable, str(HERE / "kvstore_loopback.py"), str(shape.features), str(shape.hidden[0]), touched]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    printed = json.loads(done.stdout.splitlines()[-1])
    whole = step(shape, rounds)
    return Measured(
        step=whole["seconds"],
        thin=step(replace(shape, non_zeros=1, features=min(shape.features, 1_000)), rounds)["seconds"],
        gathered=whole["assembly"],
        copied=roof["bytes"],
        features=printed.pop("features"),
        kvstore=printed,
    )


def print_measured(shape: data.Shape, job: Job, measured: Measured) -> None:
    """Print the rates, and what a step touches."""
    rows = shape.batch
    weights, moved = job.n_touched(rows) * shape.hidden[0], job.moved_bytes(rows)
    has = ", ".join(f"{name} {'yes' if present else 'no'}" for name, present in measured.features.items())
    print(f"MXNet {importlib.metadata.version('mxnet')} as installed: {has}")
    print(
        f"\nmeasured, {CORES} cores, {shape.features:,} features, {shape.non_zeros} a row, "
        f"{shape.hidden[0]}-{shape.hidden[1]}-{shape.outputs:,}, batch {rows:,}, Adam"
    )
    lines = {
        "a step": f"{1e3 * measured.step:.1f} ms, {rows / measured.step:,.0f} rows/s",
        "of it the sparse layer": f"{1e3 * (measured.step - measured.thin):.1f} ms",
        "and the rest": f"{1e3 * measured.thin:.1f} ms",
        "gathering a batch, another thread, alone": f"{1e3 * measured.gathered:.1f} ms",
        "columns touched": f"{job.n_touched(rows):,.0f}, {4e-6 * weights:,.1f} MB of weights",
        "bytes a step must move": f"{moved / 1e6:.0f} MB, {1e3 * moved / measured.copied:.1f} ms of copying",
    }
    for name, rate in measured.kvstore.items():
        lines[f"the kvstore, loopback, {name}"] = f"{rate / 1e9:.2f} GB/s"
    for name, said in lines.items():
        print(f"{name:44s}{said}")


def print_check(shape: data.Shape, machine: Machine, rounds: int) -> None:
    """Print the model's step beside a measured one of shapes that it wasn't calibrated on."""
    other = replace(
        shape, outputs=shape.outputs * 3 // 2, batch=shape.batch * 2, non_zeros=max(1, shape.non_zeros // 2)
    )
    job = job_of(other, ADAM)
    said, found = machine.seconds(job, other.batch), step(other, rounds)["seconds"]
    print(
        f"\nthe model at {other.non_zeros} a row, {other.outputs:,} outputs, batch {other.batch:,}: "
        f"{1e3 * said:.1f} ms, measured {1e3 * found:.1f} ms, {said / found - 1:+.0%}"
    )


def print_speedups(job: Job, machine: Machine, rows: int) -> None:
    """Print rows a second of several machines by one's, and from how many machines on that is more."""
    print(
        f"batch {rows:,} a machine, {job.n_touched(rows):,.0f} columns touched; of 16 machines each sends "
        f"{pulled_bytes(job, 16, rows) / 1e6:.0f} MB to and as a parameter server,\n"
        f"{partial_sum_bytes(job, 16, rows) / 1e6:.0f} MB with hash sharding, which sends less up to "
        f"{sharding_moves_less_up_to(job, rows)} machines"
    )
    print(f"{'machines':32s}" + "".join(f"{n:>7d}" for n in MACHINES) + f"{'pays from':>11s}")
    for gigabits in GIGABITS:
        network = Network(gigabits * 1e9 / 8, LATENCY)
        for plan in PLANS:
            ratios = "".join(f"{speedup(plan, job, machine, network, n, rows):7.1f}" for n in MACHINES)
            first = pays_from(plan, job, machine, network, rows)
            print(f"{f'{gigabits} Gbit/s, {plan}':32s}{ratios}{first or 'never':>11}")


def print_epoch(job: Job, measured: Measured, machine: Machine, factor: float, rows: int) -> None:
    """Print the published job's epoch by every plan, in minutes, at so many rows a machine and at eight times those."""
    batches = (rows, 8 * rows)
    network = Network(EPOCH_GIGABITS * 1e9 / 8, LATENCY)
    print(f"{'minutes':52s}" + "".join(f"{f'batch {one:,}':>14s}" for one in batches))

    def line(name: str, step_seconds: list[float]) -> None:
        minutes = (JOB_ROWS / one * took / 60 for one, took in zip(batches, step_seconds, strict=True))
        print(f"{name:52s}" + "".join(f"{each:14,.1f}" for each in minutes))

    for own, name in ((machine, "this machine"), (machine.times(factor), f"one {factor:g} times as fast")):
        alone = [own.seconds(job, one) for one in batches]
        line(name, alone)
        for plan in PLANS:
            faster = [speedup(plan, job, own, network, EPOCH_MACHINES, one) for one in batches]
            took = [seconds / times for seconds, times in zip(alone, faster, strict=True)]
            line(f"  {EPOCH_MACHINES} of them, {EPOCH_GIGABITS} Gbit/s, {plan}", took)
    for name, gpu in GPUS.items():
        line(f"{name}, at least", [gpu.least_seconds(job, one) for one in batches])
    for name, gpu in GPUS.items():
        beside = [gpu.least_seconds_beside(job, machine.times(factor), one) for one in batches]
        line(f"{name}, the sparse layer on {factor:g} times this machine", beside)
    line("gathering the batches, one core of this machine", [measured.gathered * one / rows for one in batches])


def main() -> None:
    """Print the plan."""
    parser = shape_flags("What more machines or a GPU would give a training.", batch=1_024)
    parser.add_argument("--factor", type=float, default=8, help="how much faster a large machine is; default: 8")
    given = parser.parse_args()
    steps = data.WARM_UP + REPORTED + 1
    shape = shape_of(given, batch=given.batch, steps=steps, positives=positives_of(given.outputs))
    job = job_of(shape, ADAM)
    measured = measure(shape, job, given.rounds)
    print_measured(shape, job, measured)
    machine = measured.machine(job, shape.batch)
    print_check(shape, machine, given.rounds)

    published = replace(job, outputs=JOB_OUTPUTS)
    print(f"\nextrapolated from here on, for {JOB_OUTPUTS:,} outputs; {LATENCY * 1e6:.0f} us a message")
    for n in (EPOCH_MACHINES, MACHINES[-1]):
        first = first_server_load(published, n, shape.batch)
        print(f"{n} machines: the heaviest shard has {heaviest_shard(published, n):.2f} times the mean's non-zeros,")
        print(f"  the first server {first:.1f} times the mean's rows if columns stay in order of frequency")
    for own, rows in ((machine, 1), (machine.times(given.factor), 1), (machine.times(given.factor), 8)):
        print("\nmachines like this one" if own is machine else f"\nmachines {given.factor:g} times as fast")
        print_speedups(published, own, rows * shape.batch)
    weights = len(published.occurrence) * published.hidden[0] + published.dense_weights
    print(
        f"\nan epoch of {JOB_ROWS:,} rows, {JOB_ROWS * published.non_zeros * 8e-9:,.0f} GB of non-zeros; "
        f"weights and Adam's arrays {weights * (1 + ADAM) * 4e-6:,.0f} MB"
    )
    print_epoch(published, measured, machine, given.factor, shape.batch)


if __name__ == "__main__":
    main()
