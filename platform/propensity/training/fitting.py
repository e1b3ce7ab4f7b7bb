"""Fits a model: encoder, net, early stopping, calibration, refit on everything known."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propensity.errors import TrainingError
from propensity.models.calibration import Calibration
from propensity.models.model import Model
from propensity.training.batches import EncodedExamples, encode
from propensity.training.calibration import calibrate, evenly
from propensity.training.descent import (
    Losses,
    Progress,
    TrainedNet,
    multilabel_log_loss,
    no_progress,
    train_nets,
)
from propensity.training.encoding import fit_encoder
from propensity.training.mxnet_runtime import mx
from propensity.training.networks import NETWORKS, NetworkShape

if TYPE_CHECKING:
    from propensity.features.dictionary import FeatureDictionary
    from propensity.models.encoding import Encoder
    from propensity.settings import TrainingSettings
    from propensity.training.examples import Examples

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
        return fit_encoder(
            examples,
            dictionary,
            categories,
            settings.min_feature_rows,
            aligned_columns=aligned_columns,
            cross_signals=settings.cross_signals,
        )

    def trained(encoder: Encoder, rows: Examples, held_out: EncodedExamples | None, epochs: int) -> list[TrainedNet]:
        encoded = encode(encoder, rows)
        shape = _shape(encoded, len(encoder.cross_signals), settings, n_classes)
        return train_nets(encoded, held_out, shape, settings=settings, epochs=epochs, progress=progress)

    def model_of(nets: list[TrainedNet], encoder: Encoder, newest: Examples, calibration: Calibration) -> Model:
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
    held_out = encode(encoder, validation)
    nets = trained(encoder, train, held_out, settings.epochs)
    epochs, history = nets[0].epoch, _history(nets)
    identity = Calibration.identity(n_classes, len(encoder.categories))
    model = model_of(nets, encoder, validation if refit is None else train, identity)
    calibration, validation_loss = _calibrate(model, held_out)
    model, validated = replace(model, calibration=calibration), None
    if refit is not None:
        first, encoder = encoder, fitted_encoder(refit)
        calibration = calibration.for_categories(first.categories, encoder.categories)
        nets = trained(encoder, refit, None, epochs)
        history += _history(nets)
        model, validated = model_of(nets, encoder, refit, calibration), model
    exports = {f"mxnet-{number:04d}.params": _params_file(net) for number, net in enumerate(nets)}
    return FittedModel(model, validated, history, epochs, validation_loss, exports)


def _history(nets: list[TrainedNet]) -> tuple[dict[str, Any], ...]:
    return tuple({"net": number, **entry} for number, net in enumerate(nets) for entry in net.history)


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


def _shape(train: EncodedExamples, n_cross_signals: int, settings: TrainingSettings, n_classes: int) -> NetworkShape:
    return NetworkShape(
        n_columns=train.rows.deep.shape[1],
        n_categories=train.prior.shape[1],
        n_classes=n_classes,
        n_signals=train.rows.pair_signals.shape[1],
        n_cross_signals=n_cross_signals,
        n_customer_signals=train.rows.customer.shape[1],
        hidden=settings.hidden,
        aligned_hidden=settings.aligned_hidden,
        embedding=settings.embedding,
        context=settings.context,
        dropout=settings.dropout,
        aligned_dropout=settings.aligned_dropout,
    )


def _calibrate(model: Model, examples: EncodedExamples) -> tuple[Calibration, float]:
    """Fit the calibration; return it and the validation loss after it."""
    kept = evenly(len(examples), examples.prior.shape[1])
    labels = examples.labels[kept].toarray()
    rows, as_of_position = examples.rows.take(kept), examples.as_of_position[kept]
    calibration, calibrated = calibrate(model, rows, examples.prior, as_of_position, labels)
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
