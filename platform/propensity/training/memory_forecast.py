"""How much memory a training will hold at its most, worked out from its shapes.

A training goes through phases, each of which holds something else beside what the process holds anyway: rows as they
come from Feast, a chunk of them while it is encoded, the encoded rows with a net, its optimizer and copies of its
weights, the pairs of a calibration, the files of the artifact. The constants below were measured;
`tests/benchmarks/bench_training_forecast.py` compares the sum with what happens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from propensity.training.batches import PREFETCHED
from propensity.training.calibration import CALIBRATION_PAIRS
from propensity.training.encoded_files import IN_ORDER_BYTES
from propensity.training.pair_layers import GROUPS
from propensity.training.sparse_linear import OPTIMIZERS
from propensity.training.stored_examples import CHUNK_ROWS

if TYPE_CHECKING:
    from propensity.settings import TrainingSettings
    from propensity.training.networks import NetworkShape

RETRIEVAL_BYTES: Final = 180 << 20
"""Feast's modules and DuckDB's buffers."""
RETRIEVED_VALUE_BYTES: Final = 38
"""For each non-zero of a chunk: in DuckDB's and Arrow's buffers, and while a CSR is made of it."""
RETRIEVED_ROW_BYTES: Final = 300
"""For each row asked for at once: its customer_id as an object, as Arrow's string and as DuckDB's, and its labels."""
KEPT_BYTES: Final = 120 << 20
"""What stays of a retrieval: Feast's modules, and memory that the allocators keep."""
ENCODED_VALUE_BYTES: Final = 60
"""For each non-zero of a chunk while it is encoded: the chunk itself, masks and positions, the encoded rows."""
FEATURE_BYTES: Final = 120
"""For each feature of the dictionary: its names and what is summed up by it."""
STEP_BYTES: Final = 80 << 20
"""What compiled loops, MXNet's workspace and the first step bring with them."""
BATCH_COPIES: Final = 3.0
"""A batch's rows take so many times their encoded size: sorted by row and by column, and on their way there."""
ACTIVATIONS: Final = 6
"""Arrays of a layer's size that a step holds at once: outputs, masks, gradients."""
CALIBRATED_PAIR_BYTES: Final = 65
"""For each pair and class of a calibration: margins as float64, positions, and what the loss is made of."""


@dataclass(frozen=True)
class MemoryShape:
    """What a training's memory depends on.

    Attributes:
        n_features: Of the dictionary.
        largest_as_of: Rows of the largest as_of; a chunk has CHUNK_ROWS of them at most.
        asked_rows: Rows that Feast is asked for at once; 0 where the rows are there already.
        refit_rows: Rows the kept net learns from.
        validation_rows: Rows of the validation as_of.
        values_per_row: Non-zeros.
        pairs_per_row: Seen pairs.
        encoded_bytes: Of a row, after the encoder, in memory.
        net: Widths.
        from_model: The nets start from a previous model's weights.
    """

    n_features: int
    largest_as_of: int
    asked_rows: int
    refit_rows: int
    validation_rows: int
    values_per_row: float
    pairs_per_row: float
    encoded_bytes: float
    net: NetworkShape
    from_model: bool = False


def weight_bytes(network: str, shape: NetworkShape) -> int:
    """Return the size of one net's weights, float32."""
    n_out = shape.n_classes - 1
    widths = (shape.n_columns, *shape.hidden, n_out * shape.n_categories)
    numbers = sum(before * after + after for before, after in pairwise(widths))
    if network == "category_aligned":
        n_in = shape.n_signals + shape.embedding + shape.context + 1 + shape.n_customer_signals
        numbers += sum(before * after + after for before, after in pairwise((n_in, *shape.aligned_hidden, n_out)))
        numbers += shape.n_categories * (shape.embedding + (shape.n_signals + 1) * n_out)
        numbers += (shape.hidden[-1] + 1) * shape.context
        numbers += shape.n_categories**2 * shape.n_cross_signals * n_out
    return 4 * numbers


def memory_by_phase(base: int, shape: MemoryShape, settings: TrainingSettings) -> dict[str, int]:
    """Return the most that the process holds in each phase of a training, bytes.

    Args:
        base: What it holds before, with all that training imports.
        shape: Rows, non-zeros and widths.
        settings: Hyper-parameters.
    """
    net, nets = shape.net, settings.nets
    weights = weight_bytes(settings.network, net)
    n_out = net.n_classes - 1
    chunk_values = min(shape.largest_as_of, CHUNK_ROWS) * shape.values_per_row
    kept = base + shape.n_features * FEATURE_BYTES + (KEPT_BYTES if shape.asked_rows else 0)
    first_nets = nets * weights

    encoded = min(shape.refit_rows * shape.encoded_bytes, settings.shuffle_megabytes << 20)
    batch_rows = min(settings.batch_size, shape.refit_rows)
    pair_widths = net.n_signals + sum(net.aligned_hidden) if settings.network == "category_aligned" else 0
    step = (
        ACTIVATIONS * 4 * batch_rows * (net.n_categories * n_out + sum(net.hidden) + shape.pairs_per_row * pair_widths)
    )
    if pair_widths:
        # Each group's sums by category.
        step += 4 * GROUPS * net.n_categories * (net.aligned_hidden[0] + (net.n_signals + 1) * n_out)
    batches = (PREFETCHED + 2) * BATCH_COPIES * shape.encoded_bytes * batch_rows
    # The net, its optimizer's arrays, a copy at the epoch's end, the best one, and one for the checkpoint.
    states = OPTIMIZERS[settings.optimizer]
    copies = 4 + states + (2 * nets + 1 if shape.from_model else 0)
    # The nets of the first stage stay, as do those of the second that are finished.
    finished = 2 * nets - 1
    held_out = min(shape.validation_rows * shape.encoded_bytes, IN_ORDER_BYTES)
    pairs = min(shape.validation_rows * net.n_categories, CALIBRATION_PAIRS) * n_out
    phases = {
        "encoding": kept + chunk_values * ENCODED_VALUE_BYTES + first_nets,
        "nets": kept
        + encoded
        + 8 * shape.refit_rows
        + (copies + finished) * weights
        + batches
        + step
        + held_out
        + STEP_BYTES,
        "calibration": kept + 3 * first_nets + pairs * CALIBRATED_PAIR_BYTES + held_out + STEP_BYTES,
        # Both stages' nets, MXNet's files of the second, and one stage's bytes on their way into a file.
        "writing": kept + 4 * first_nets + weights + STEP_BYTES,
    }
    if shape.asked_rows:
        # A chunk of a retrieval may be of several as_ofs.
        chunk_values = min(shape.asked_rows, CHUNK_ROWS) * shape.values_per_row
        retrieved = chunk_values * RETRIEVED_VALUE_BYTES + shape.asked_rows * RETRIEVED_ROW_BYTES
        phases = {"retrieval": base + RETRIEVAL_BYTES + retrieved + shape.n_features * FEATURE_BYTES} | phases
    return {phase: int(held) for phase, held in phases.items()}


def savings(base: int, shape: MemoryShape, settings: TrainingSettings) -> list[tuple[str, int]]:
    """Return settings that would lower the peak, and by how many bytes each alone, the most first."""
    peak = max(memory_by_phase(base, shape, settings).values())
    tried = [
        ("shuffle_megabytes", max(1, settings.shuffle_megabytes // 4)),
        ("batch_size", max(1, settings.batch_size // 4)),
        ("hidden", tuple(max(1, width // 2) for width in settings.hidden)),
        ("nets", 1),
        ("optimizer", "sgd"),
        ("cross_signals", ()),
    ]
    found = []
    for name, value in tried:
        lowered = settings.model_copy(update={name: value})
        net = replace(
            shape.net,
            hidden=lowered.hidden,
            n_cross_signals=min(shape.net.n_cross_signals, len(lowered.cross_signals)),
        )
        saved = peak - max(memory_by_phase(base, replace(shape, net=net), lowered).values())
        if saved >= peak // 50:
            shown = str(list(value)) if isinstance(value, tuple) else str(value)
            found.append((f"training.{name} = {shown}", saved))
    return sorted(found, key=lambda entry: -entry[1])
