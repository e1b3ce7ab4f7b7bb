"""Trains one net: batch after batch, early stopping on validation."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from propensity.errors import TrainingError
from propensity.models.calibration import class_probabilities
from propensity.models.forward import ROW_BLOCK
from propensity.models.forward_pass import ForwardPass
from propensity.training import mxnet_runtime, networks
from propensity.training.batches import Batches
from propensity.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from propensity.training.multilabel_loss import loss_and_gradients
from propensity.training.mxnet_runtime import mx
from propensity.training.threads import beside, one_blas_thread, threads_in_use

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from propensity.settings import TrainingSettings
    from propensity.training.batches import Batch
    from propensity.training.encoded_examples import EncodedSource

Start = Callable[[int, "dict[str, npt.NDArray[np.float32]]"], "dict[str, npt.NDArray[np.float32]]"]
REPORT_EVERY: Final = 25
"""Batches between reports of the training loss."""
AS_GOOD: Final = 5e-4
"""A validation loss higher by this share counts as no worse. Of epochs as good as each other the latest is kept: its
learning rate is the lowest, so its net is the least noisy, and a calibration fitted on it carries over to a refit."""


@dataclass(frozen=True)
class Losses:
    """Multi-label log loss so far.

    Attributes:
        stage: "fit" or "refit".
        net: Number of the net, from 0.
        epochs: Epochs the stage has at most.
        train: Mean over the epoch's batches so far, with dropout.
        validation: After the epoch; None before its end and in a refit.
    """

    stage: str
    net: int
    epochs: int
    train: float
    validation: float | None


class Progress(Protocol):
    """Told every few batches and at the end of each epoch; `epoch` and `batch` count from 1."""

    def __call__(self, epoch: int, batch: int, n_batches: int, losses: Losses) -> None:
        """Take note."""


def no_progress(epoch: int, batch: int, n_batches: int, losses: Losses) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class TrainedNet:
    """A net and how it came to be.

    Attributes:
        weights: At the best epoch by validation loss (see AS_GOOD); without validation at the last.
        epoch: That epoch.
        history: One entry per epoch: stage, epoch, train, validation (None in a refit).
    """

    weights: dict[str, npt.NDArray[np.float32]]
    epoch: int
    history: tuple[dict[str, Any], ...]


def train_nets(
    train: EncodedSource,
    validation: EncodedSource | None,
    shape: networks.NetworkShape,
    *,
    settings: TrainingSettings,
    epochs: int,
    progress: Progress,
    checkpoints: Path | None = None,
    start: Start | None = None,
) -> list[TrainedNet]:
    """Train `settings.nets` nets that differ in their seed; arguments as for `train_net`.

    The first one finds the number of epochs; the others, which differ from it by chance alone, take as many.

    Args:
        checkpoints: Directory for a file of each net, `fit-0.npz` or `refit-0.npz`; None keeps none.
        start: Given the net's number and its new weights, returns those to start from; None takes the new ones.
    """
    stage = "refit" if validation is None else "fit"
    nets: list[TrainedNet] = []
    for number in range(settings.nets):
        nets.append(
            train_net(
                train,
                None if nets else validation,
                shape,
                settings=settings.model_copy(update={"seed": settings.seed + number}),
                epochs=nets[0].epoch if nets else epochs,
                progress=progress,
                stage=stage,
                number=number,
                checkpoint=None if checkpoints is None else checkpoints / f"{stage}-{number}.npz",
                start=start,
            )
        )
        # Gluon's blocks refer to each other in circles: without this the next net is made beside the last one's weights
        # and its optimizer's arrays.
        gc.collect()
    return nets


def train_net(
    train: EncodedSource,
    validation: EncodedSource | None,
    shape: networks.NetworkShape,
    *,
    settings: TrainingSettings,
    epochs: int,
    progress: Progress,
    stage: str = "fit",
    number: int = 0,
    checkpoint: Path | None = None,
    start: Start | None = None,
) -> TrainedNet:
    """Train a net, from new weights unless `start` gives others.

    The learning rate falls linearly to zero over `settings.epochs`, also when `epochs` is lower: a refit
    takes the very steps that were validated.

    Args:
        train: Rows to learn from.
        validation: Rows for early stopping; None trains for all epochs.
        shape: The net's widths.
        settings: Hyper-parameters.
        epochs: Passes at most.
        progress: Called now and then.
        stage: What `progress` and the history call it: "fit" or "refit".
        number: Of the net, for `progress`.
        checkpoint: File that is written after every epoch, and from which a training that was killed goes on to the
            same bits. It must be of these very arguments. None keeps none.
        start: As for `train_nets`.

    Raises:
        TrainingError: The loss is no longer finite.
        OSError: The disk is full.

    Side effects: the checkpoint.
    """
    net = networks.build(settings.network, shape, np.random.default_rng(settings.seed))
    if start is not None:
        networks.set_weights(net, start(number, networks.weights(net)))
    trainer = _trainer(net, settings)
    so_far = None if checkpoint is None else read_checkpoint(checkpoint, net, trainer)
    so_far = so_far or Checkpoint(0, done=False, best_epoch=0, lowest=math.inf, history=(), best={})
    while not so_far.done and so_far.epoch < epochs:
        epoch = so_far.epoch + 1
        # Drawn from the epoch's number alone: whoever goes on from a checkpoint draws the same.
        batches = Batches(train, settings.batch_size, np.random.default_rng((settings.seed, epoch)))
        networks.reseed_dropout(net, settings.seed, epoch)
        total = 0.0
        with one_blas_thread():
            for batch_number, batch in enumerate(batches, start=1):
                done = (epoch - 1 + (batch_number - 1) / len(batches)) / settings.epochs
                trainer.set_learning_rate(settings.learning_rate * (1.0 - done))
                total += _step(net, trainer, batch)
                if batch_number % REPORT_EVERY == 0 and batch_number < len(batches):
                    losses = Losses(stage, number, epochs, _mean(total, batch_number), None)
                    progress(epoch, batch_number, len(batches), losses)
        train_loss = _mean(total, len(batches))
        weights = networks.weights(net)
        held_out = None if validation is None else validation_loss(weights, validation, settings, shape)
        progress(epoch, len(batches), len(batches), Losses(stage, number, epochs, train_loss, held_out))
        best_epoch, lowest, best = so_far.best_epoch, so_far.lowest, so_far.best
        if held_out is None or held_out <= lowest * (1.0 + AS_GOOD):
            best_epoch, best = epoch, weights
            lowest = min(lowest, math.inf if held_out is None else held_out)
        entry = {"stage": stage, "epoch": epoch, "train": train_loss, "validation": held_out}
        done = epoch == epochs or epoch - best_epoch >= settings.patience
        so_far = Checkpoint(epoch, done, best_epoch, lowest, (*so_far.history, entry), best)
        if checkpoint is not None:
            write_checkpoint(checkpoint, so_far, net, trainer)
    return TrainedNet(so_far.best, so_far.best_epoch, so_far.history)


def validation_loss(
    weights: dict[str, npt.NDArray[np.float32]],
    examples: EncodedSource,
    settings: TrainingSettings,
    shape: networks.NetworkShape,
) -> float:
    """Return the multi-label log loss of a net, without dropout, as the scorer computes it."""
    forward = ForwardPass(settings.network, [weights], shape.n_classes)
    total = 0.0
    for part in examples.in_order():
        start = 0
        for chunk in forward.margins(part.rows, part.prior, part.as_of_position, threads_in_use()):
            for low in range(0, len(chunk), ROW_BLOCK):  # the loss needs many times the margins' memory
                margins = chunk[low : low + ROW_BLOCK]
                labels = part.labels[start : start + len(margins)].toarray()
                total += multilabel_log_loss(margins, labels) * len(margins)
                start += len(margins)
    return total / len(examples)


def multilabel_log_loss(margins: npt.NDArray[np.float32], labels: npt.NDArray[np.int8]) -> float:
    """Return the mean over rows and categories of -log of the probability given to the pair's class.

    Args:
        margins: Log-odds of classes 1..K-1 against class 0, (n_rows, K - 1, n_categories).
        labels: Classes, (n_rows, n_categories).
    """
    given = np.take_along_axis(class_probabilities(margins), labels[:, None, :].astype(np.int64), axis=1)
    return float(-np.log(np.maximum(given, 1e-12)).mean(dtype=np.float64))


def _trainer(net: Any, settings: TrainingSettings) -> Any:
    """Return MXNet's trainer of the dense weights, and start the optimizers of the sparse layers."""
    shrinking = {"aligned.linear", "cross.weight"}
    for name, layer in networks.sparse_layers(net).items():
        # The input layer moves only where the batch has a feature. The cross part shrinks everywhere in every step:
        # it is decayed strongly, and a weight of a rare category must not escape that.
        own = settings.category_weight_decay if name in shrinking else 0.0
        layer.train_with(settings.optimizer, weight_decay=own, lazy=name not in shrinking)
    by_path = networks.parameters(net)
    for name, parameter in by_path.items():
        parameter.wd_mult *= settings.category_weight_decay if name in shrinking else settings.weight_decay
    # wd is times each parameter's own
    return mx.gluon.Trainer(list(by_path.values()), settings.optimizer, {"wd": 1.0}, kvstore=None)


def _step(net: Any, trainer: Any, batch: Batch) -> float:
    """Take one step of the optimizers; return the batch's multi-label log loss."""
    with mx.autograd.record():
        summands = net(batch)
    loss, gradients = loss_and_gradients(summands, batch)
    net.backward(gradients)
    # MXNet moves the dense weights one after the other, each in less time than its threads take to meet; they would
    # also wait for the cores that move the sparse ones.
    with beside(partial(net.step, trainer.learning_rate)), mxnet_runtime.one_thread():
        # A batch without seen pairs leaves no gradient in the aligned and cross parts: they stay as they are.
        trainer.step(1, ignore_stale_grad=True)
    return loss


def _mean(total: float, batches: int) -> float:
    mean = total / batches
    if not math.isfinite(mean):
        raise TrainingError("The training loss is no longer finite. Lower training.learning_rate.")
    return mean
