"""How fast this machine trains: the real code on a few of the rows, at the real widths, with a clock beside it.

Nothing of it reaches the training: what is drawn comes from generators of its own, the threads are the training's, and
the files go with the probe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.models.calibration import Calibration
from propensity.models.forward import ROW_BLOCK
from propensity.models.model import Model
from propensity.training.calibration import calibrate
from propensity.training.descent import train_net
from propensity.training.encoded_files import write_encoded
from propensity.training.example_sums import add_up

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from propensity.models.encoding import Encoder
    from propensity.settings import TrainingSettings
    from propensity.training.descent import Losses
    from propensity.training.encoded_examples import EncodedExamples
    from propensity.training.networks import NetworkShape
    from propensity.training.stored_examples import StoredExamples

Clock = Callable[[], float]

WARM_STEPS: Final = 8
"""Steps before the clock starts: gathered ahead, or slowed by first touches of memory."""
STEPS: Final = 8
"""Steps under the clock at least."""
STEP_SECONDS: Final = 2.0
"""Time for steps, about."""
VALIDATED_ROWS: Final = 4 * ROW_BLOCK
"""Rows that the probe computes a validation loss of."""
CALIBRATED_PAIRS: Final = 100_000
"""Pairs that the probe calibrates on, about."""


@dataclass(frozen=True)
class Speed:
    """What the probe measured, in seconds.

    Attributes:
        read_value: To read a stored row's non-zero.
        sum_value: To add one up for the encoder.
        encode_value: To read one, encode it and write it.
        step: A step of one batch.
        build: To build a net.
        epoch_end: To copy the weights, and to write the checkpoint.
        validated_row: To compute the validation loss of a row.
        calibrated_pair: To calibrate on a pair, with the nets' margins.
    """

    read_value: float
    sum_value: float
    encode_value: float
    step: float
    build: float
    epoch_end: float
    validated_row: float
    calibrated_pair: float


@dataclass
class TimedRows:
    """A source of batches that notes when it is asked for the next one, and ends its only pass when time is over.

    Each window is one batch. The thread that gathers waits while enough are ready, so in the long run it asks as often
    as steps are taken.
    """

    rows: EncodedExamples
    batch_size: int
    n_rows: int
    clock: Clock
    asked: list[float] = field(default_factory=list)
    began: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the rows of a pass of the training."""
        return self.n_rows

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[EncodedExamples, npt.NDArray[np.int64]]]:
        """Return windows of a batch until time is over; of later passes, none."""
        self.began.append(self.clock())
        return self._windows(rng) if len(self.began) == 1 else iter(())

    def in_order(self) -> Iterator[EncodedExamples]:
        """Yield all rows."""
        yield self.rows

    def _windows(self, rng: np.random.Generator) -> Iterator[tuple[EncodedExamples, npt.NDArray[np.int64]]]:
        steps = -(-self.n_rows // self.batch_size)
        while len(self.asked) < WARM_STEPS + max(STEPS, min(steps, 200)):
            self.asked.append(self.clock())
            if len(self.asked) > WARM_STEPS + STEPS and self.asked[-1] - self.began[0] > STEP_SECONDS:
                break
            yield self.rows, rng.integers(0, len(self.rows), min(self.batch_size, self.n_rows))

    @property
    def step_seconds(self) -> float:
        """Mean seconds of a step."""
        return (self.asked[-1] - self.asked[WARM_STEPS]) / (len(self.asked) - 1 - WARM_STEPS)


@dataclass
class TimedValidation:
    """Held-out rows that note when a validation loss begins."""

    rows: EncodedExamples
    clock: Clock
    began: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[EncodedExamples, npt.NDArray[np.int64]]]:
        """Return all rows as one window."""
        return self.rows.shuffled(rng)

    def in_order(self) -> Iterator[EncodedExamples]:
        """Yield all rows."""
        self.began.append(self.clock())
        yield self.rows


def measure(
    encoder: Encoder,
    sample: StoredExamples,
    n_rows: int,
    net: NetworkShape,
    settings: TrainingSettings,
    scratch: Path,
    clock: Clock = time.perf_counter,
) -> Speed:
    """Encode the sample, take some steps on it, write a checkpoint, calibrate, and say how long each took.

    Args:
        encoder: As wide as the training's will be.
        sample: Labelled rows on disk.
        n_rows: Rows that the training's net reads in an epoch.
        net: The training's widths.
        settings: Hyper-parameters.
        scratch: An empty directory on the disk that the training will write to.
        clock: What seconds are read from.

    Side effects: files in `scratch`.
    """
    values = max(sum(chunk.features.nnz for chunk in sample.chunks()), 1)
    category_of = np.where(encoder.feature_position < 0, -1, encoder.category_index[encoder.feature_position])
    directory = scratch / "encoded"
    directory.mkdir()
    moments = [clock()]
    for _ in sample.chunks():
        pass
    moments.append(clock())
    add_up(sample, category_of.astype(np.int32))
    moments.append(clock())
    stored = write_encoded(directory, encoder, sample, settings.shuffle_megabytes << 20)
    moments.append(clock())
    read, summed, encoded = (np.diff(moments) / values).tolist()
    rows = stored.read(np.arange(stored.n_groups))
    return Speed(read, summed, encoded, *_steps(rows, n_rows, encoder, net, settings, scratch, clock))


def _steps(
    rows: EncodedExamples,
    n_rows: int,
    encoder: Encoder,
    net: NetworkShape,
    settings: TrainingSettings,
    scratch: Path,
    clock: Clock,
) -> tuple[float, float, float, float, float]:
    """Return what `Speed` has of steps, builds, ends of epochs, validation and calibration."""
    told: list[float] = []

    def progress(epoch: int, batch: int, n_batches: int, losses: Losses) -> None:
        del epoch, losses
        if batch == n_batches:
            told.append(clock())

    held_out = rows.take(np.arange(min(len(rows), VALIDATED_ROWS)))
    # Whole blocks: the scorer fills up the last one.
    blocks = max(1, CALIBRATED_PAIRS // (net.n_categories * (net.n_classes - 1) * ROW_BLOCK))
    calibrated_on = held_out.take(np.arange(min(len(held_out), blocks * ROW_BLOCK)))
    train, validation = TimedRows(rows, settings.batch_size, n_rows, clock), TimedValidation(held_out, clock)
    started = clock()
    trained = train_net(
        train,
        validation,
        net,
        settings=settings,
        epochs=2,  # the second is empty: a net that is done keeps a smaller checkpoint
        progress=progress,
        checkpoint=scratch / "checkpoint.npz",
    )
    finished = clock()
    for weight in trained.weights.values():
        weight.copy()
    copied = clock() - finished
    calibrated = _calibration_seconds(trained.weights, calibrated_on, encoder, net, settings, clock)
    return (
        train.step_seconds,
        train.began[0] - started,
        copied + train.began[1] - told[0],
        (told[1] - validation.began[1]) / len(held_out),  # the first one may have waited for compilers
        calibrated / (len(calibrated_on) * net.n_categories),
    )


def _calibration_seconds(
    weights: dict[str, npt.NDArray[np.float32]],
    examples: EncodedExamples,
    encoder: Encoder,
    net: NetworkShape,
    settings: TrainingSettings,
    clock: Clock,
) -> float:
    """Return the seconds that a calibration takes, of as many nets as a model has."""
    model = Model(
        network=settings.network,
        n_classes=net.n_classes,
        encoder=encoder,
        nets=(weights,) * settings.nets,
        calibration=Calibration.identity(net.n_classes, net.n_categories),
        popularity_default=np.zeros(net.n_categories, np.float32),
        unseen_category_prior=0.5,
    )
    labels = examples.labels.toarray()
    started = clock()
    calibrate(model, examples.rows, examples.prior, examples.as_of_position, labels)
    return clock() - started
