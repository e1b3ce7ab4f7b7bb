"""One object for one region of one home."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from propensity import consumers, pipeline
from propensity.api.imports import Imports
from propensity.api.models import Models
from propensity.api.region import AsOf
from propensity.api.runs import Runs
from propensity.features.feature_store import apply_repository, open_feature_store
from propensity.features.labels import build_labels
from propensity.features.snapshot import Snapshot
from propensity.features.snapshots import build_snapshots
from propensity.progress import Progress, silent
from propensity.scoring.online import materialize
from propensity.scoring.republishing import Republication
from propensity.scoring.service import ScoringResult, score
from propensity.training.training_set import TrainingSet, training_set
from propensity.warehouse.categories import load_categories
from propensity.warehouse.regions import check_region

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore


class Platform(Imports, Models, Runs):
    """A region's propensities, from events to audiences.

    >>> platform = Platform(region="us")                       # doctest: +SKIP
    >>> platform.run("2017-11-01")                             # doctest: +SKIP
    >>> platform.top("1", 3)                                   # doctest: +SKIP
    >>> platform.audience("SOFT DRINKS", 100)                  # doctest: +SKIP
    """

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

    def score(self, as_of: AsOf, model_version: str | None = None, progress: Progress = silent) -> ScoringResult:
        """Score and publish; see `scoring.service.score`."""
        return score(self.settings, self.as_of(as_of), model_version, progress)

    def materialize(self, publication: ScoringResult | Republication, progress: Progress = silent) -> bool:
        """Put a publication online; return whether it was not yet. See `scoring.online.materialize`."""
        return materialize(self.settings, publication.run, progress)

    def run(self, as_of: AsOf, observer: pipeline.Observer | None = None) -> pipeline.PipelineResult:
        """Build, train if due, score, publish; see `pipeline.run`."""
        return pipeline.run(self.settings, self.as_of(as_of), observer)

    def categories(self) -> tuple[str, ...]:
        """Return the region's category names in the order of their index."""
        check_region(self.settings)
        return load_categories(self.settings).names

    def top(self, customer_id: str, n: int = 5) -> list[consumers.TopCategory]:
        """Return a customer's likeliest categories from the online store."""
        return consumers.top_categories(self.settings, customer_id, n)

    def audience(
        self, category: str, n: int = 100, *, minimum: float = 0.0, event_type: str | None = None
    ) -> pd.DataFrame:
        """Return the customers likeliest to act in a category, or to do what `event_type` names or more in it."""
        return consumers.audience(self.settings, category, n, minimum=minimum, event_type=event_type)

    def sql(self, query: str) -> pd.DataFrame:
        """Run a query over catalogue and views (`propensity_long`, `top_categories` …)."""
        return consumers.run_sql(self.settings, query)
