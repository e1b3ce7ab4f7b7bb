"""What a training will take, before it starts: memory from its shapes, time from a probe of a few seconds."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from propensity.errors import TrainingError
from propensity.training.available_memory import available_bytes, resident_bytes
from propensity.training.calibration import CALIBRATION_PAIRS
from propensity.training.planned_training import plan_training
from propensity.training.service import warm_settings
from propensity.training.stored_examples import store_examples
from propensity.training.stored_training_set import RETRIEVAL_ROWS
from propensity.training.training_forecast import TrainingForecast
from propensity.training.training_shape import shape_of_snapshots
from propensity.warehouse.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from propensity.settings import Settings
    from propensity.training.cutoffs import Cutoffs
    from propensity.training.time_probe import Speed
    from propensity.training.training_shape import TrainingShape

TINY: Final = 100_000
"""Rows times passes of a training that takes seconds: a probe would take as long."""
FEAST_SECONDS: Final = 4.0
"""Feast's import, its registry and its first retrieval."""
RETRIEVED_PER_ENCODED: Final = 1.0
"""What a non-zero costs on its way through Feast, in times of what the encoder takes for it."""
WRITTEN_BYTES_PER_SECOND: Final = 400e6
"""Of an artifact: written, hashed, read back and hashed again."""


def forecast_training(
    settings: Settings, trained_as_of: datetime, *, from_model: str | None = None, probe: bool | None = None
) -> TrainingForecast:
    """Forecast memory and time of `service.train` with the same arguments.

    The number of epochs isn't known: early stopping ends most trainings earlier than forecast.

    Args:
        trained_as_of: No label window used ends later.
        from_model: As for `service.train`.
        probe: Whether to measure this machine's speed, a few seconds; None does unless the training is tiny.

    Raises:
        UnknownModelError: There is no model `from_model`.
        MissingSnapshotError: A snapshot or labels are missing; `propensity run` builds them.
        TrainingError: There's too little to learn from.

    Side effects: a directory in the lake's staging, removed at the end. A training that follows gives the same bits.
    """
    plan = plan_training(settings, trained_as_of, from_model)
    return _forecast(settings, plan.cutoffs, from_model=from_model is not None, probe=probe)


def forecast_if_due(
    settings: Settings, trained_as_of: datetime, *, from_model: str | None = None
) -> TrainingForecast | None:
    """Forecast a training; None where the same one has been trained. Arguments and errors as of `forecast_training`."""
    plan = plan_training(settings, trained_as_of, from_model)
    if plan.directory.is_dir():
        return None
    return _forecast(settings, plan.cutoffs, from_model=from_model is not None, probe=None)


def _forecast(settings: Settings, cutoffs: Cutoffs, *, from_model: bool, probe: bool | None) -> TrainingForecast:
    if from_model:
        settings = warm_settings(settings)
    with Lake(settings.lake).staged() as scratch:
        shape = shape_of_snapshots(settings, cutoffs)
        return forecast_shape(settings, shape, scratch, from_model=from_model, probe=probe)


def forecast_shape(
    settings: Settings,
    shape: TrainingShape,
    scratch: Path,
    *,
    retrieved: bool = True,
    from_model: bool = False,
    probe: bool | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingForecast:
    """Forecast a training of this shape.

    Args:
        settings: `training`, `labels` and `threads` are read.
        shape: What will be read.
        scratch: A directory on the disk that the training will write to.
        retrieved: The rows come from Feast; else they are there.
        from_model: The nets start from a previous model's weights.
        probe: As for `forecast_training`.
        clock: What the probe's seconds are read from.

    Raises:
        TrainingError: There are no rows, no category has any evidence, or a cross signal is unknown.

    Side effects: files in `scratch`, removed at the end.
    """
    # Here, not above: MXNet takes seconds to import, and asking whether training is due needn't.
    from propensity.training import mxnet_runtime, threads  # noqa: PLC0415
    from propensity.training.encoded_files import write_encoded  # noqa: PLC0415
    from propensity.training.fitting import network_shape  # noqa: PLC0415
    from propensity.training.memory_forecast import MemoryShape, memory_by_phase, savings, weight_bytes  # noqa: PLC0415
    from propensity.training.networks import NETWORKS  # noqa: PLC0415
    from propensity.training.time_probe import measure  # noqa: PLC0415

    if len(shape.sample) == 0:
        raise TrainingError("The training set has no rows. See: propensity features build, propensity labels build")
    base, options = resident_bytes(), settings.training
    encoder = shape.encoder(options, aligned_columns=NETWORKS[options.network].reads_aligned_columns)
    net = network_shape(encoder, options, settings.labels.n_classes)
    n_rows = sum(shape.refit)
    with tempfile.TemporaryDirectory(prefix="forecast-", dir=scratch) as name:
        directory = Path(name)
        sample = store_examples(shape.sample, directory / "sample")
        (directory / "once").mkdir()
        encoded = write_encoded(directory / "once", encoder, sample, options.shuffle_megabytes << 20)
        more = shape.values_per_row * len(sample) / max(shape.sample.features.nnz, 1)
        memory_shape = MemoryShape(
            n_features=encoder.n_features,
            largest_as_of=max(shape.refit),
            asked_rows=max(*shape.refit, min(RETRIEVAL_ROWS, n_rows)) if retrieved else 0,
            refit_rows=n_rows,
            validation_rows=shape.validation,
            values_per_row=shape.values_per_row,
            pairs_per_row=float(encoded.ends[-1, 2]) / len(sample) * more,
            encoded_bytes=encoded.n_bytes / len(sample) * more,
            net=net,
            from_model=from_model,
        )
        forecast = TrainingForecast(
            rows=n_rows,
            cutoffs=len(shape.refit),
            values_per_row=shape.values_per_row,
            features=encoder.n_features,
            columns=encoder.n_columns,
            categories=net.n_categories,
            n_classes=net.n_classes,
            settings=options,
            memory=memory_by_phase(base, memory_shape, options),
            available=available_bytes(),
            lower=tuple(savings(base, memory_shape, options)),
        )
        passes = (sum(shape.train) + n_rows) * options.epochs * options.nets
        if not forecast.fits or not (passes > TINY if probe is None else probe):
            return forecast
        mxnet_runtime.set_threads(settings.threads)
        threads.set_threads(settings.threads)
        speed = measure(encoder, sample, n_rows, net, options, directory, clock)
    return _timed(forecast, shape, speed, weight_bytes(options.network, net), retrieved=retrieved)


def _timed(
    forecast: TrainingForecast, shape: TrainingShape, speed: Speed, weights: int, *, retrieved: bool
) -> TrainingForecast:
    """Add what the probe says of time; `weights` are a net's, in bytes."""
    options = forecast.settings
    calibrated = min(shape.validation * forecast.categories, CALIBRATION_PAIRS)
    # Both stages' nets, those of the second in MXNet's format too.
    written = 3 * options.nets * weights
    train, refit = (sum(rows) * shape.values_per_row for rows in (shape.train, shape.refit))
    validation = shape.validation * shape.values_per_row
    steps = [-(-rows // options.batch_size) for rows in (sum(shape.train), sum(shape.refit))]
    fixed = {"retrieval": FEAST_SECONDS + refit * speed.encode_value * RETRIEVED_PER_ENCODED} if retrieved else {}
    fixed |= {
        "encoding": (train + validation + refit) * (speed.read_value + speed.encode_value)
        + (train + refit) * speed.sum_value,
        "nets": options.nets * speed.build,
        "refit": options.nets * speed.build,
        "finishing": calibrated * speed.calibrated_pair + written / WRITTEN_BYTES_PER_SECOND,
    }
    return replace(
        forecast,
        epochs=(steps[0] * speed.step + speed.epoch_end, steps[1] * speed.step + speed.epoch_end),
        fixed=fixed,
        validation=shape.validation * speed.validated_row,
    )
