"""The forward pass of scoring beside PyTorch's, MXNet's own and ONNX Runtime's, all on the same rows and weights.

The net: sparse input, two hidden layers, an output for each category; float32 on processors. Data are drawn
(training_step_data.py, scorer_data.py). Every contender runs in a process of its own, in turn, round after round; it is
given its batches ready-made in its own form, tries how many rows a call should have, and keeps the fastest. Figures are
medians of the rounds, ratios those of the same round. Margins of the first rows must agree with MXNet's.

- Ours (ours_scorer.py) is `ForwardPass`: encoded rows in, margins out. "to probabilities" has the calibration and the
  logistic function in its time too; "category-aligned" the parts for seen pairs; "bfloat16" sparse weights in 16 bits.
  The peers that go to probabilities are compared with ours that does.
- PyTorch (peer_torch_scorer.py): `EmbeddingBag` and `Linear`; "to probabilities" with `sigmoid_`, uncalibrated.
- MXNet (peer_mxnet_scorer.py): the Module API, `sparse.dot` and `FullyConnected`. "as published": two outputs a
  category and a softmax over each pair, as such a net is trained and MXNet runs it. "folded": our folding of the two
  into a margin done for it, with a dense input weight and with a row-sparse one.
- ONNX Runtime (peer_onnx_scorer.py): CSR rows as plain tensors; two graphs, the faster counts.
- "products alone" (roof_scorer.py) is no net but its dense products in numpy: no float32 pass can be faster.

Run by `make bench`, or: python tests/benchmarks/bench_scorer.py
All of them take a quarter of an hour; some, by their names: --only "ours, category-aligned"
In seconds: python tests/benchmarks/bench_scorer.py --features 5000 --outputs 100 --rows 1024 --rounds 1
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import training_step_data as data
from blas_kernel import blas_kernel
from peer_environment import PEERS, has_torch
from shape_flags import shape_flags, shape_of

HERE = Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
PROBABILITIES, REFERENCE = "ours, to probabilities", "MXNet, folded"
BATCH = 512
"""Rows that the data are drawn by; contenders choose their own."""
AGREE = 1e-5
"""How far margins may lie from MXNet's."""


@dataclass(frozen=True)
class Contender:
    """A forward pass.

    Attributes:
        name: In the table; also of the file with what it found.
        threads: It may use.
        command: Interpreter, script, and what comes after the directory and the name.
        same_net: Whether it computes MXNet's margins.
        beside: The name of the one of ours that does the same work.
        rounded: Whether its weights are, so that margins may lie further away.
    """

    name: str
    threads: int
    command: tuple[str, ...]
    same_net: bool = True
    beside: str = "ours"
    rounded: bool = False

    @property
    def key(self) -> str:
        return f"{self.name}, {self.threads}".replace(" ", "_").replace(",", "")

    def measure(self, directory: Path) -> dict[str, float]:
        """Run it in a fresh process, since thread settings are read once; return `seconds` of a pass and `batch`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
        for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
            environment[f"{library}_NUM_THREADS"] = str(self.threads)
        interpreter, script, *more = self.command
        done = subprocess.run(
            [interpreter, str(HERE / script), str(directory), self.key, *more],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
        printed: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return printed


def contenders(cross: int) -> list[Contender]:
    """Return all, ours first; where PyTorch is missing, say so and leave it out."""
    own = (sys.executable, "ours_scorer.py")
    found = [Contender("ours", threads, (*own, "feed_forward", "0", "margins")) for threads in (1, CORES)]
    torch = (str(PEERS), "peer_torch_scorer.py") if has_torch() else None
    if torch is not None:
        found += [Contender("PyTorch", threads, (*torch, "margins")) for threads in (1, CORES)]
    found += [
        Contender(name, threads, (sys.executable, "peer_mxnet_scorer.py", storage, head), beside=beside)
        for name, storage, head, beside in (
            ("MXNet, as published", "default", "softmax", PROBABILITIES),
            (REFERENCE, "default", "margins", "ours"),
            ("MXNet, folded, row-sparse weight", "row_sparse", "margins", "ours"),
        )
        for threads in (1, CORES)
    ]
    found += [
        Contender(f"ONNX Runtime, {way}", threads, (sys.executable, "peer_onnx_scorer.py", way))
        for way in ("product", "scatter")
        for threads in (1, CORES)
    ]
    found += [
        Contender("products alone", threads, (sys.executable, "roof_scorer.py"), same_net=False)
        for threads in (1, CORES)
    ]
    more = {
        PROBABILITIES: ("feed_forward", "0", "probabilities"),
        "ours, category-aligned": ("category_aligned", "0", "margins"),
        "the same with cross part": ("category_aligned", str(cross), "margins"),
        "the same, bfloat16": ("category_aligned", str(cross), "margins", "bfloat16"),
    }
    found += [
        Contender("ours, bfloat16", threads, (*own, "feed_forward", "0", "margins", "bfloat16"), rounded=True)
        for threads in (1, CORES)
    ]
    found += [
        Contender(name, threads, (*own, *given), same_net=False)
        for name, given in more.items()
        for threads in (1, CORES)
    ]
    if torch is not None:
        name = "PyTorch, to probabilities"
        found += [
            Contender(name, threads, (*torch, "probabilities"), same_net=False, beside=PROBABILITIES)
            for threads in (1, CORES)
        ]
    return found


def chosen(all_of_them: list[Contender], names: list[str] | None) -> list[Contender]:
    """Return those of these names, with those that they are compared with; all where there are no names."""
    if names is None:
        return all_of_them
    needed = {*names, REFERENCE, *(contender.beside for contender in all_of_them if contender.name in names)}
    return [contender for contender in all_of_them if contender.name in needed]


Results = dict[Contender, list[dict[str, float]]]
"""Each contender's figures, a round each, in turn."""


def print_table(shape: data.Shape, results: Results, differences: dict[Contender, float]) -> None:
    """Print rows a second, and how many times as fast as each peer ours is with the same threads."""
    named = {(contender.name, contender.threads): runs for contender, runs in results.items()}
    print(f"\n{'':32s}{'threads':>8s}{'rows a call':>13s}{'rows/s':>10s}{'ours is':>9s}{'from MXNet':>12s}")
    for contender, runs in results.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        ours = named[contender.beside, contender.threads]
        ratio = "" if runs is ours else f"{faster(ours, runs):.2f}x"
        difference = f"{differences[contender]:.1e}" if contender in differences else ""
        print(
            f"{contender.name:32s}{contender.threads:8d}{runs[0]['batch']:13,.0f}{shape.rows / seconds:10,.0f}"
            f"{ratio:>9s}{difference:>12s}"
        )


def faster(one: list[dict[str, float]], other: list[dict[str, float]]) -> float:
    """Return the median over rounds of how many times as fast `one` is as `other` in the same round."""
    return statistics.median(b["seconds"] / a["seconds"] for a, b in zip(one, other, strict=True))


def main() -> None:
    """Print the comparison; fail if the contenders don't compute the same."""
    parser = shape_flags(
        "The scorer's forward pass beside PyTorch, MXNet and ONNX Runtime.", rows=16_384, seen=40, signals=15, cross=2
    )
    names = list(dict.fromkeys(contender.name for contender in contenders(cross=0)))
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {'; '.join(names)}")
    given = parser.parse_args()
    if given.rows % BATCH:
        parser.error(f"--rows must be a multiple of {BATCH}")
    shape = shape_of(given, batch=BATCH, steps=given.rows // BATCH, positives=1, seen=given.seen, signals=given.signals)
    print(
        f"{shape.features:,} features, {shape.non_zeros} a row, {shape.hidden[0]}-{shape.hidden[1]}-{shape.outputs:,}; "
        f"{shape.seen} seen categories, {shape.signals} signals each; {shape.rows:,} rows, {CORES} cores, "
        f"{blas_kernel()}; medians of {given.rounds} rounds"
    )
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        data.write(directory, shape)
        results: Results = {contender: [] for contender in chosen(contenders(given.cross), given.only)}
        for _ in range(given.rounds):
            for contender, runs in results.items():
                runs.append(contender.measure(directory))
        reference = np.load(directory / f"{Contender(REFERENCE, 1, ()).key}.npy")
        differences = {
            contender: float(np.abs(np.load(directory / f"{contender.key}.npy") - reference).max())
            for contender in results
            if contender.same_net
        }
    print_table(shape, results, differences)
    exact = {contender.key: far for contender, far in differences.items() if not contender.rounded}
    if max(exact.values()) > AGREE:
        raise RuntimeError(f"The contenders don't compute the same net: margins lie {exact} from MXNet's")


if __name__ == "__main__":
    main()
