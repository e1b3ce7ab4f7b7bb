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
    for n_classes in (2, 3)
    for network, crosses in (("category_aligned", (True, False)), ("feed_forward", (False,)))
    for cross in crosses
    for nets in (1, 2)
}


def model_of(n_classes: int, network: str, nets: int, *, cross: bool) -> Model:
    """A trained model's weights and calibration, shaken: what starts at zero in training must count here too."""
    rng = np.random.default_rng(3)
    model = fitted(n_classes, network).model
    trained = {name: value for name, value in model.nets[0].items() if cross or name != "cross.weight"}
    shape = (2, n_classes - 1)
    return dataclasses.replace(
        model,
        encoder=model.encoder if cross else dataclasses.replace(model.encoder, cross_signals=()),
        nets=tuple(
            {name: (value + rng.normal(0, 0.2, value.shape)).astype(np.float32) for name, value in trained.items()}
            for _ in range(nets)
        ),
        calibration=Calibration(
            rng.uniform(0.5, 1.5, shape),
            rng.normal(0, 0.3, shape),
            rng.normal(0, 0.3, (*shape, N_CATEGORIES)).astype(np.float32),
        ),
    )
