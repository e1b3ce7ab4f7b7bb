"""What users import: one object for one region of one home."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propensity import consumers, pipeline
from propensity.errors import SettingsError
from propensity.evaluation.service import ModelEvaluation, evaluate_model
from propensity.features.feature_store import apply_repository, open_feature_store
from propensity.features.labels import build_labels
from propensity.features.snapshots import Snapshot, build_snapshots
from propensity.models.registry import RegisteredModel, list_models
from propensity.progress import Progress, silent
from propensity.scoring.online import materialize
from propensity.scoring.service import ScoringResult, score
from propensity.settings import Settings, load_settings
from propensity.training.service import TrainingResult, train
from propensity.training.training_set import TrainingSet, training_set
from propensity.warehouse.categories import load_categories
from propensity.warehouse.complete_journey import import_complete_journey
from propensity.warehouse.customer_attributes import import_customers_from
from propensity.warehouse.event_sources import import_events_from
from propensity.warehouse.import_result import ImportResult
from propensity.warehouse.items import import_items_from
from propensity.warehouse.migration import migrate
from propensity.warehouse.regions import check_region, local_days_later, local_midnight, parse_as_of
from propensity.warehouse.runs import RunRecord, list_runs
from propensity.warehouse.sql_views import refresh_views

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

AsOf = str | date | datetime
"""A date means midnight in the region's time zone; a datetime without a zone is the region's local time."""


class Platform:
    """A region's propensities, from events to audiences.

    >>> platform = Platform(region="us")                       # doctest: +SKIP
    >>> platform.run("2017-11-01")                             # doctest: +SKIP
    >>> platform.top("1", 3)                                   # doctest: +SKIP
    >>> platform.audience("SOFT DRINKS", 100)                  # doctest: +SKIP
    """

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        """Take settings as they are, or load them with `options` (`home=`, `region=` …) on top.

        Raises:
            SettingsError: An option is unknown or out of range.
        """
        self.settings = settings or load_settings(**options)

    def as_of(self, value: AsOf) -> datetime:
        """Return the instant that `value` means, in UTC."""
        if isinstance(value, datetime):
            return parse_as_of(value.isoformat(), self.settings)
        return local_midnight(value, self.settings) if isinstance(value, date) else parse_as_of(value, self.settings)

    def as_ofs(self, first: AsOf, last: AsOf, *, every_days: int | None = None) -> list[datetime]:
        """Return the instants from `first` to `last`, by default `snapshot_every_days` local days apart.

        Raises:
            SettingsError: `first` is after `last`.
        """
        instant, end = self.as_of(first), self.as_of(last)
        if instant > end:
            raise SettingsError(f"{first} is after {last}. Give the earlier one first.")
        series = []
        while instant <= end:
            series.append(instant)
            instant = local_days_later(instant, every_days or self.settings.snapshot_every_days, self.settings)
        return series

    def migrate(self) -> None:
        """Create the catalogue or bring it to this version's schema, and its SQL views to this version's."""
        migrate(self.settings)
        refresh_views(self.settings)

    def import_events(
        self,
        source: str,
        *,
        query: str | None = None,
        table: str | None = None,
        timezone: str = "UTC",
        columns: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> ImportResult:
        """Import events from files or a database, into a catalogue that is made where there is none.

        Arguments, errors and side effects: `warehouse.event_sources.import_events_from`, which calls `columns`
        `column_names`.
        """
        self.migrate()
        result = import_events_from(
            self.settings,
            source,
            query=query,
            table=table,
            timezone=timezone,
            column_names=columns,
            progress=progress,
        )
        refresh_views(self.settings)
        return result

    def import_items(
        self,
        source: str,
        *,
        query: str | None = None,
        table: str | None = None,
        columns: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> ImportResult:
        """Import items and their categories; see `import_events` and `warehouse.items.import_items_from`."""
        self.migrate()
        return import_items_from(
            self.settings, source, query=query, table=table, column_names=columns, progress=progress
        )

    def import_customers(
        self,
        source: str,
        *,
        query: str | None = None,
        table: str | None = None,
        timezone: str = "UTC",
        columns: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> ImportResult:
        """Import customers' attributes; see `import_events` and `customer_attributes.import_customers_from`."""
        self.migrate()
        return import_customers_from(
            self.settings,
            source,
            query=query,
            table=table,
            timezone=timezone,
            column_names=columns,
            progress=progress,
        )

    def import_complete_journey(self, directory: Path | None = None, progress: Progress = silent) -> ImportResult:
        """Import Complete Journey; see `import_events` and `warehouse.complete_journey.import_complete_journey`."""
        self.migrate()
        result = import_complete_journey(self.settings, directory, progress=progress)
        refresh_views(self.settings)
        return result

    def build_features(self, as_ofs: Iterable[AsOf], progress: Progress = silent) -> list[Snapshot]:
        """Build feature snapshots; see `features.snapshots.build_snapshots`."""
        return build_snapshots(self.settings, [self.as_of(value) for value in as_ofs], progress)

    def build_labels(self, as_ofs: Iterable[AsOf], progress: Progress = silent) -> list[Snapshot]:
        """Build labels; see `features.labels.build_labels`."""
        return build_labels(self.settings, [self.as_of(value) for value in as_ofs], progress)

    def apply(self) -> bool:
        """Run `feast apply` if the definitions have changed; return whether it ran."""
        return apply_repository(self.settings)

    def feature_store(self) -> FeatureStore:
        """Open Feast's own store, for everything Feast can do."""
        return open_feature_store(self.settings)

    def training_set(self, as_ofs: Iterable[AsOf], *, labels: bool = True) -> TrainingSet:
        """Return point-in-time-correct rows, features (CSR) and labels (CSR) of all customers known at `as_ofs`."""
        return training_set(self.settings, [self.as_of(value) for value in as_ofs], labels=labels)

    def train(self, as_of: AsOf, progress: Progress = silent) -> TrainingResult:
        """Train and register a model; see `training.service.train`."""
        return train(self.settings, self.as_of(as_of), progress)

    def evaluate(self, as_of: AsOf, model_version: str | None = None, progress: Progress = silent) -> ModelEvaluation:
        """Evaluate a model beside the baselines; see `evaluation.service.evaluate_model`."""
        return evaluate_model(self.settings, self.as_of(as_of), model_version, progress)

    def score(self, as_of: AsOf, model_version: str | None = None, progress: Progress = silent) -> ScoringResult:
        """Score and publish; see `scoring.service.score`."""
        return score(self.settings, self.as_of(as_of), model_version, progress)

    def materialize(self, scoring: ScoringResult) -> bool:
        """Put a publication online; return whether it was not yet."""
        return materialize(self.settings, scoring.run)

    def run(self, as_of: AsOf, observer: pipeline.Observer | None = None) -> pipeline.PipelineResult:
        """Build, train if due, score, publish; see `pipeline.run`."""
        return pipeline.run(self.settings, self.as_of(as_of), observer)

    def models(self) -> list[RegisteredModel]:
        """Return the region's models, oldest first."""
        check_region(self.settings)
        return list_models(self.settings)

    def runs(self) -> list[RunRecord]:
        """Return the region's runs, oldest first."""
        check_region(self.settings)
        return list_runs(self.settings)

    def categories(self) -> tuple[str, ...]:
        """Return the region's category names in the order of their index."""
        check_region(self.settings)
        return load_categories(self.settings).names

    def top(self, customer_id: str, n: int = 5) -> list[consumers.TopCategory]:
        """Return a customer's likeliest categories from the online store."""
        return consumers.top_categories(self.settings, customer_id, n)

    def audience(self, category: str, n: int = 100, *, minimum: float = 0.0) -> pd.DataFrame:
        """Return the customers likeliest to act in a category."""
        return consumers.audience(self.settings, category, n, minimum=minimum)

    def sql(self, query: str) -> pd.DataFrame:
        """Run a query over catalogue and views (`propensity_long`, `top_categories` …)."""
        return consumers.run_sql(self.settings, query)

    @property
    def home(self) -> Path:
        """Directory of lake, catalogue, models and Feast's stores."""
        return self.settings.home
