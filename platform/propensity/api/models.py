"""What makes models, and what says how good they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from propensity import pipeline
from propensity.api.region import AsOf, Region
from propensity.baselines import SIMPLE
from propensity.evaluation.comparing import Comparison, compare_models
from propensity.evaluation.service import ModelEvaluation, evaluate_model
from propensity.experiments.backtest import Backtest, backtest
from propensity.experiments.tuning import Tuning, tune
from propensity.exports.service import Export, check_export, export_model
from propensity.models.decisions import Decision, list_decisions, promote, rollback
from propensity.models.registry import RegisteredModel, list_models
from propensity.progress import Progress, silent
from propensity.reporting import ModelPage, write_page
from propensity.training.forecast import forecast_training
from propensity.training.service import TrainingResult
from propensity.training.training_forecast import TrainingForecast
from propensity.warehouse.regions import check_region

Names = str | Sequence[str]  # of baselines, see `baselines.chosen`


class Models(Region):
    """What makes models, and what says how good they are."""

    def train(
        self,
        as_of: AsOf,
        observer: pipeline.Observer | None = None,
        *,
        from_model: str | None = None,
        beyond_memory: bool = False,
    ) -> TrainingResult:
        """Train a model and let the gate decide on it; see `pipeline.train_and_judge` and `decisions`.

        Args:
            as_of: No label window used ends later.
            observer: Told of progress.
            from_model: Version of the model whose weights to start from; see docs/training.md.
            beyond_memory: Train also where the forecast says that memory won't do.
        """
        check_region(self.settings)
        settings = self.settings.model_copy(update={"refuse_beyond_memory": False}) if beyond_memory else self.settings
        return pipeline.train_and_judge(settings, self.as_of(as_of), observer, from_model=from_model)

    def forecast(self, as_of: AsOf, *, from_model: str | None = None) -> TrainingForecast:
        """Forecast memory and time of `train`, without training; see `training.forecast.forecast_training`."""
        check_region(self.settings)
        return forecast_training(self.settings, self.as_of(as_of), from_model=from_model, probe=True)

    def evaluate(
        self, as_of: AsOf, model_version: str | None = None, progress: Progress = silent, *, baselines: Names = SIMPLE
    ) -> ModelEvaluation:
        """Evaluate a model beside baselines; see `evaluation.service.evaluate_model`."""
        return evaluate_model(self.settings, self.as_of(as_of), model_version, progress, baselines=baselines)

    def backtest(
        self,
        as_ofs: Iterable[AsOf],
        *,
        baselines: Names = SIMPLE,
        keep_models: bool = False,
        observer: pipeline.Observer | None = None,
    ) -> Backtest:
        """Train as of each cut-off and test on the window behind it; see `experiments.backtest.backtest`."""
        series = [self.as_of(value) for value in as_ofs]
        return backtest(self.settings, series, baselines=baselines, keep_models=keep_models, observer=observer)

    def tune(
        self,
        as_of: AsOf,
        *,
        trials: int = 30,
        timeout_seconds: float | None = None,
        windows: int = 2,
        seed: int = 7,
        observer: pipeline.Observer | None = None,
    ) -> Tuning:
        """Search training settings on windows that ended by `as_of`; see `experiments.tuning.tune`."""
        return tune(
            self.settings,
            self.as_of(as_of),
            trials=trials,
            timeout_seconds=timeout_seconds,
            windows=windows,
            seed=seed,
            observer=observer,
        )

    def report(
        self,
        model_version: str | None = None,
        as_of: AsOf | None = None,
        progress: Progress = silent,
        *,
        baselines: Names | None = None,
    ) -> ModelPage:
        """Write a model's page; see `reporting.service.write_page`."""
        window = None if as_of is None else self.as_of(as_of)
        return write_page(self.settings, model_version, window, progress, baselines=baselines)

    def models(self) -> list[RegisteredModel]:
        """Return the region's models, oldest first."""
        check_region(self.settings)
        return list_models(self.settings)

    def decisions(self, model_version: str | None = None) -> list[Decision]:
        """Return what was decided on the region's models, oldest first, with the numbers."""
        check_region(self.settings)
        return list_decisions(self.settings, model_version)

    def promote(self, model_version: str, *, force: bool = False, reason: str | None = None) -> Decision:
        """Make a model the champion by hand; see `models.decisions.promote`."""
        check_region(self.settings)
        return promote(self.settings, model_version, force=force, reason=reason)

    def rollback(self, reason: str | None = None) -> Decision:
        """Make the previous champion the champion again; see `models.decisions.rollback`."""
        check_region(self.settings)
        return rollback(self.settings, reason)

    def compare(self, first: str, second: str, as_of: AsOf | None = None, progress: Progress = silent) -> Comparison:
        """Compare two models on a window that neither has seen; see `evaluation.comparing.compare_models`."""
        check_region(self.settings)
        return compare_models(self.settings, first, second, None if as_of is None else self.as_of(as_of), progress)

    def export_model(self, model_version: str | None = None, *, to: str | Path, file_format: str = "onnx") -> Export:
        """Write a model for other runtimes, by default the champion; see `exports.service.export_model`."""
        check_region(self.settings)
        return export_model(self.settings, model_version, to=Path(to), file_format=file_format)

    def check_export(self, directory: str | Path) -> Export:
        """Check that an export is whole and does what the scorer does; see `exports.service.check_export`."""
        check_region(self.settings)
        return check_export(self.settings, Path(directory))
