"""Fits a model: encoder, net, early stopping, calibration, refit on everything known."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.errors import TrainingError
from propensity.models.calibration import Calibration
from propensity.models.model import Model
from propensity.training.calibration import calibrate, evenly
from propensity.training.descent import (
    Losses,
    Progress,
    TrainedNet,
    multilabel_log_loss,
    no_progress,
    train_nets,
)
from propensity.training.encoded_examples import EncodedExamples, EncodedSource, encode, joined
from propensity.training.encoded_files import write_encoded
from propensity.training.encoding import fit_encoder
from propensity.training.mxnet_runtime import mx
from propensity.training.networks import NETWORKS, NetworkShape
from propensity.training.warm_start import Weights, carried_over

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.models.encoding import Encoder
    from propensity.settings import TrainingSettings
    from propensity.training.examples import ExampleChunks

__all__ = ["FittedModel", "Losses", "Progress", "fit", "multilabel_log_loss"]


@dataclass(frozen=True)
class FittedModel:
    """What `fit` returns.

    Attributes:
        model: For scoring and for the artifact.
        validated: The net before the refit: trained on what had ended by the validation as_of, so it can be judged on
            the validation window. None when there was no refit: `model` is that net itself.
        history: One entry per net and epoch: net, stage, epoch, train, validation (None where the epochs were given).
        best_epoch: Epochs the net was trained for.
        validation_loss: Multi-label log loss on the validation window after calibration, before the refit.
        exports: The framework's own files by name, to be put into the artifact.
    """

    model: Model
    validated: Model | None
    history: tuple[dict[str, Any], ...]
    best_epoch: int
    validation_loss: float
    exports: dict[str, bytes]


def fit(
    train: ExampleChunks,
    validation: ExampleChunks,
    refit: ExampleChunks | None,
    *,
    dictionary: FeatureDictionary,
    categories: Sequence[str],
    settings: TrainingSettings,
    progress: Progress = no_progress,
    n_classes: int = 2,
    scratch: Path | None = None,
    checkpoints: Path | None = None,
    previous: tuple[Model, Model] | None = None,
) -> FittedModel:
    """Fit a model; the same arguments and thread count give the same bits.

    With `scratch` memory holds a chunk of the examples and `settings.shuffle_megabytes` of encoded rows at a time. Rows
    that fit into those are drawn in the same order with it and without.

    Args:
        train: Rows whose label windows ended by the validation as_of.
        validation: Rows for early stopping and calibration.
        refit: Rows for the net that is kept: those of train and validation and of the cut-offs between, all
            of whose label windows have ended. None keeps the first net.
        dictionary: Names of the features.
        categories: Name of each `category_index`.
        settings: Hyper-parameters.
        progress: Called now and then.
        n_classes: K, the number of label classes with "none".
        scratch: Directory for encoded rows; None keeps them in memory.
        checkpoints: Directory for each net's state after every epoch, from which the same call goes on after a kill;
            None keeps none. Whoever gave it removes it.
        previous: Models whose weights the first nets and the refitted ones start from; see `warm_start.carried_over`.
            The first must have learned nothing from the validation window.

    Raises:
        TrainingError: Rows or labels are missing, a label isn't below K, the network is unknown, or the loss
            is no longer finite.
        OSError: The disk is full.

    Side effects: makes directories in `scratch` and removes them; files in `checkpoints`.
    """
    if settings.network not in NETWORKS:
        raise TrainingError(f"No network {settings.network!r}. Known: {', '.join(sorted(NETWORKS))}")
    for name, examples in (("training", train), ("validation", validation), ("refit", refit)):
        if examples is not None:
            _check(examples, name, n_classes)

    def fitted_encoder(examples: ExampleChunks) -> Encoder:
        aligned_columns = NETWORKS[settings.network].reads_aligned_columns
        return fit_encoder(
            examples,
            dictionary,
            categories,
            settings.min_feature_rows,
            aligned_columns=aligned_columns,
            cross_signals=settings.cross_signals,
        )

    def trained(
        encoder: Encoder, examples: ExampleChunks, held_out: EncodedSource | None, epochs: int, before: Model | None
    ) -> list[TrainedNet]:
        shape = network_shape(encoder, settings, n_classes)

        def start(net: int, fresh: Weights) -> Weights:
            if before is None:
                return fresh
            return carried_over(before, net, encoder, fresh, network=settings.network, n_classes=n_classes)

        with _encoded(encoder, examples, scratch, settings.shuffle_megabytes) as rows:
            return train_nets(
                rows,
                held_out,
                shape,
                settings=settings,
                epochs=epochs,
                progress=progress,
                checkpoints=checkpoints,
                start=start,
            )

    def model_of(nets: list[TrainedNet], encoder: Encoder, newest: ExampleChunks, calibration: Calibration) -> Model:
        return Model(
            network=settings.network,
            n_classes=n_classes,
            encoder=encoder,
            nets=tuple(net.weights for net in nets),
            calibration=calibration,
            popularity_default=encoder.shares(newest.popularity[-1:])[0],
            unseen_category_prior=_unseen_category_prior(newest),
        )

    encoder = fitted_encoder(train)
    with _encoded(encoder, validation, scratch, settings.shuffle_megabytes) as held_out:
        nets = trained(encoder, train, held_out, settings.epochs, None if previous is None else previous[0])
        epochs, history = nets[0].epoch, _history(nets)
        identity = Calibration.identity(n_classes, len(encoder.categories))
        model = model_of(nets, encoder, validation if refit is None else train, identity)
        calibration, validation_loss = _calibrate(model, held_out)
    model, validated = replace(model, calibration=calibration), None
    if refit is not None:
        first, encoder = encoder, fitted_encoder(refit)
        calibration = calibration.for_categories(first.categories, encoder.categories)
        nets = trained(encoder, refit, None, epochs, None if previous is None else previous[1])
        history += _history(nets)
        model, validated = model_of(nets, encoder, refit, calibration), model
    exports = {f"mxnet-{number:04d}.params": _params_file(net) for number, net in enumerate(nets)}
    return FittedModel(model, validated, history, epochs, validation_loss, exports)


def _history(nets: list[TrainedNet]) -> tuple[dict[str, Any], ...]:
    return tuple({"net": number, **entry} for number, net in enumerate(nets) for entry in net.history)


@contextmanager
def _encoded(
    encoder: Encoder, examples: ExampleChunks, scratch: Path | None, megabytes: int
) -> Iterator[EncodedSource]:
    """Encode labelled examples into memory, or into files that go with the block."""
    if scratch is None:
        yield joined([encode(encoder, chunk) for chunk in examples.chunks()])
        return
    with tempfile.TemporaryDirectory(prefix="encoded-", dir=scratch) as directory:
        yield write_encoded(Path(directory), encoder, examples, megabytes << 20)


def _check(examples: ExampleChunks, name: str, n_classes: int) -> None:
    what_next = "See: propensity features build, propensity labels build"
    if len(examples) == 0:
        raise TrainingError(f"The {name} set has no rows. {what_next}")
    low, high = np.iinfo(np.int8).max, np.iinfo(np.int8).min
    for chunk in examples.chunks():
        if chunk.labels is not None and chunk.labels.nnz:
            low, high = min(low, int(chunk.labels.data.min())), max(high, int(chunk.labels.data.max()))
    if low > high:
        raise TrainingError(f"The {name} set has no positive label. {what_next}")
    if low < 0 or high >= n_classes:
        raise TrainingError(
            f"The {name} set has labels from {low} to {high}, but {n_classes} classes. "
            "See labels.event_types in: propensity config"
        )


def network_shape(encoder: Encoder, settings: TrainingSettings, n_classes: int) -> NetworkShape:
    """Return the widths of a net that reads what the encoder encodes."""
    return NetworkShape(
        n_columns=max(encoder.n_columns, 1),
        n_categories=len(encoder.categories),
        n_classes=n_classes,
        n_signals=len(encoder.aligned_signals),
        n_cross_signals=len(encoder.cross_signals),
        n_customer_signals=len(encoder.customer_signals),
        hidden=settings.hidden,
        aligned_hidden=settings.aligned_hidden,
        embedding=settings.embedding,
        context=settings.context,
        dropout=settings.dropout,
        aligned_dropout=settings.aligned_dropout,
    )


def _calibrate(model: Model, held_out: EncodedSource) -> tuple[Calibration, float]:
    """Fit the calibration; return it and the validation loss after it."""
    examples = _picked(held_out, evenly(len(held_out), len(model.encoder.categories)))
    labels = examples.labels.toarray()
    calibration, calibrated = calibrate(model, examples.rows, examples.prior, examples.as_of_position, labels)
    return calibration, multilabel_log_loss(calibrated, labels)


def _picked(examples: EncodedSource, kept: npt.NDArray[np.int64]) -> EncodedExamples:
    """Return some rows, given in rising order."""
    parts, start = [], 0
    for part in examples.in_order():
        low, high = np.searchsorted(kept, (start, start + len(part)))
        parts.append(part.take(kept[low:high] - start))
        start += len(part)
    return joined(parts)


def _unseen_category_prior(examples: ExampleChunks) -> float:
    """Rate of a category that none of the newest as_of's n customers ever touched: Krichevsky-Trofimov's."""
    return 0.5 / (float(examples.rows_per_as_of[-1]) + 1.0)


def _params_file(net: TrainedNet) -> bytes:
    """Return the weights in MXNet's own format, as `net.load_parameters` and `nd.load` read it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "net.params"
        mx.nd.save(str(path), {name: mx.nd.array(value) for name, value in net.weights.items()})
        return path.read_bytes()
