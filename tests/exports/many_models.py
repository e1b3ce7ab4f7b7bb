"""Models of every shape that can be exported, with weights that leave no part at zero."""

from __future__ import annotations

import dataclasses

import numpy as np

from propensity.models.calibration import Calibration
from propensity.models.model import Model
from tests.training.planted import N_CATEGORIES, fitted

SHAPES = {
    f"{network}, K = {n_classes}, {nets} net{'s' * (nets - 1)}, {'with' if cross else 'no'} cross part": (
        n_classes,
        network,
        nets,
        cross,
    )
    for n_classes, network, nets, cross in (
        (2, "category_aligned", 1, True),
        (2, "category_aligned", 2, False),
        (2, "feed_forward", 2, False),
        (3, "category_aligned", 1, False),
        (3, "category_aligned", 2, True),
        (3, "feed_forward", 1, False),
    )
}
"""Every two of: network, K, number of nets, cross part."""


def model_of(n_classes: int, network: str, nets: int, *, cross: bool) -> Model:
    """A trained model's weights and calibration, shaken: what starts at zero in training must count here too."""
    rng = np.random.default_rng(3)
    model = fitted(n_classes).model
    encoder, weights = model.encoder, dict(model.nets[0])
    if not cross:
        encoder = dataclasses.replace(encoder, cross_signals=())
        weights.pop("cross.weight")
    if network == "feed_forward":
        # It has a column for every feature, and nothing that reads pairs.
        column = rng.permutation(encoder.n_features).astype(np.int32)
        scale = rng.uniform(0.5, 2, len(column)).astype(np.float32)
        encoder = dataclasses.replace(encoder, feature_column=column, column_scale=scale)
        weights = {name: value for name, value in weights.items() if not name.startswith("aligned.")}
        weights["deep.input_weight"] = np.zeros((len(column), weights["deep.input_weight"].shape[1]), np.float32)
    shape = (2, n_classes - 1)
    return dataclasses.replace(
        model,
        network=network,
        encoder=encoder,
        nets=tuple(
            {name: (value + rng.normal(0, 0.2, value.shape)).astype(np.float32) for name, value in weights.items()}
            for _ in range(nets)
        ),
        calibration=Calibration(
            rng.uniform(0.5, 1.5, shape),
            rng.normal(0, 0.3, shape),
            rng.normal(0, 0.3, (*shape, N_CATEGORIES)).astype(np.float32),
        ),
    )
