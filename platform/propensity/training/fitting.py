"""Fits a model: encoder, net, early stopping, calibration, refit on everything known."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.errors import TrainingError
from propensity.models.forward import FORWARDS
from propensity.models.model import Model
from propensity.training.batches import EncodedExamples, encode
from propensity.training.calibration import fit_calibration
from propensity.training.descent import (
    Losses,
    Progress,
    TrainedNet,
    multilabel_log_loss,
    no_progress,
    train_net,
)
from propensity.training.encoding import fit_encoder
from propensity.training.mxnet_runtime import mx
from propensity.training.networks import NETWORKS, NetworkShape

if TYPE_CHECKING:
    from propensity.features.dictionary import FeatureDictionary
    from propensity.models.calibration import Calibration
    from propensity.models.encoding import Encoder
    from propensity.settings import TrainingSettings
    from propensity.training.examples import Examples

__all__ = ["FittedModel", "Losses", "Progress", "fit", "multilabel_log_loss"]

CALIBRATION_PAIRS: Final = 4_000_000
"""Pairs used for calibration at most; rows beyond are left out evenly."""


@dataclass(frozen=True)
class FittedModel:
    """What `fit` returns.

    Attributes:
        model: For scoring and for the artifact.
        history: One entry per epoch: stage, epoch, train, validation (None in a refit).
        best_epoch: Epochs the net was trained for.
        validation_loss: Multi-label log loss on the validation window after calibration, before the refit.
        exports: The framework's own files by name, to be put into the artifact.
    """

    model: Model
    history: tuple[dict[str, Any], ...]
    best_epoch: int
    validation_loss: float
    exports: dict[str, bytes]


def fit(
    train: Examples,
    validation: Examples,
    refit: Examples | None,
    *,
    dictionary: FeatureDictionary,
    categories: Sequence[str],
    settings: TrainingSettings,
    progress: Progress = no_progress,
    n_classes: int = 2,
) -> FittedModel:
    """Fit a model; the same arguments and thread count give the same bits.

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

    Raises:
        TrainingError: Rows or labels are missing, a label isn't below K, the network is unknown, or the loss
            is no longer finite.
    """
    if settings.network not in NETWORKS:
        raise TrainingError(f"No network {settings.network!r}. Known: {', '.join(sorted(NETWORKS))}")
    for name, examples in (("training", train), ("validation", validation), ("refit", refit)):
        if examples is not None:
            _check(examples, name, n_classes)

    def fitted_encoder(examples: Examples) -> Encoder:
        aligned_columns = NETWORKS[settings.network].reads_aligned_columns
        return fit_encoder(examples, dictionary, categories, settings.min_feature_rows, aligned_columns=aligned_columns)

    def trained(rows: EncodedExamples, held_out: EncodedExamples | None, epochs: int) -> TrainedNet:
        shape = _shape(rows, settings, n_classes)
        return train_net(rows, held_out, shape, settings=settings, epochs=epochs, progress=progress)

    encoder = fitted_encoder(train)
    held_out = encode(encoder, validation)
    first = net = trained(encode(encoder, train), held_out, settings.epochs)
    calibration, validation_loss = _calibrate(net, held_out, settings.network, n_classes)
    history, newest = first.history, validation
    if refit is not None:
        encoder = fitted_encoder(refit)
        net = trained(encode(encoder, refit), None, first.epoch)
        history, newest = first.history + net.history, refit

    model = Model(
        network=settings.network,
        n_classes=n_classes,
        encoder=encoder,
        weights=net.weights,
        calibration=calibration,
        popularity_default=encoder.shares(newest.popularity[-1:])[0],
        unseen_category_prior=_unseen_category_prior(newest),
    )
    exports = {"mxnet-0000.params": _params_file(net)}
    return FittedModel(model, history, first.epoch, validation_loss, exports)


def _check(examples: Examples, name: str, n_classes: int) -> None:
    what_next = "See: propensity features build, propensity labels build"
    if len(examples) == 0:
        raise TrainingError(f"The {name} set has no rows. {what_next}")
    if examples.labels is None or examples.labels.nnz == 0:
        raise TrainingError(f"The {name} set has no positive label. {what_next}")
    low, high = int(examples.labels.data.min()), int(examples.labels.data.max())
    if low < 0 or high >= n_classes:
        raise TrainingError(
            f"The {name} set has labels from {low} to {high}, but {n_classes} classes. "
            "See labels.event_types in: propensity config"
        )


def _shape(train: EncodedExamples, settings: TrainingSettings, n_classes: int) -> NetworkShape:
    return NetworkShape(
        n_columns=train.rows.deep.shape[1],
        n_categories=train.prior.shape[1],
        n_classes=n_classes,
        n_signals=train.rows.pair_signals.shape[1],
        hidden=settings.hidden,
        aligned_hidden=settings.aligned_hidden,
        embedding=settings.embedding,
        context=settings.context,
        dropout=settings.dropout,
    )


def _calibrate(net: TrainedNet, examples: EncodedExamples, network: str, n_classes: int) -> tuple[Calibration, float]:
    """Fit the calibration; return it and the validation loss after it."""
    step = -(-len(examples) * examples.prior.shape[1] // CALIBRATION_PAIRS)
    kept = np.arange(0, len(examples), step)
    rows, labels = examples.rows.take(kept), examples.labels[kept].toarray()
    forward = FORWARDS[network](net.weights, n_classes)
    margins = np.concatenate(list(forward.margins(rows, examples.prior, examples.as_of_position[kept])))
    seen = np.zeros(labels.shape, bool)
    seen[rows.pair_row, rows.pair_position] = True
    calibration = fit_calibration(margins, labels, seen)
    calibrated = calibration.apply(margins, rows.pair_row, rows.pair_position)
    return calibration, multilabel_log_loss(calibrated, labels)


def _unseen_category_prior(examples: Examples) -> float:
    """Rate of a category that none of the newest as_of's n customers ever touched: Krichevsky-Trofimov's."""
    n_customers = int((examples.as_of_position == len(examples.as_of) - 1).sum())
    return 0.5 / (n_customers + 1.0)


def _params_file(net: TrainedNet) -> bytes:
    """Return the weights in MXNet's own format, as `net.load_parameters` and `nd.load` read it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "net.params"
        mx.nd.save(str(path), {name: mx.nd.array(value) for name, value in net.weights.items()})
        return path.read_bytes()
