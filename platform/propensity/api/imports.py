"""What brings events, items and customers in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from propensity.api.region import AsOf, Region
from propensity.progress import Progress, silent
from propensity.simulation.population import population
from propensity.simulation.service import Simulation, simulate
from propensity.simulation.truth import StoredTruth, store_truth
from propensity.warehouse.complete_journey import import_complete_journey
from propensity.warehouse.customer_attributes import import_customers_from
from propensity.warehouse.event_sources import import_events_from
from propensity.warehouse.import_result import ImportResult
from propensity.warehouse.items import import_items_from
from propensity.warehouse.regions import check_region
from propensity.warehouse.sql_views import refresh_views


class Imports(Region):
    """What brings events, items and customers in."""

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

    def simulate(self, *, steady: bool = False, progress: Progress = silent, **parameters: Any) -> Simulation:
        """Import a simulated population; see `simulation.population.Population` and `simulation.service.simulate`."""
        wanted = population(steady=steady, **parameters)
        self.migrate()
        result = simulate(self.settings, wanted, progress)
        refresh_views(self.settings)
        return result

    def simulated_truth(self, as_of: AsOf, progress: Progress = silent) -> StoredTruth:
        """Store the true propensities of a simulated population; see `simulation.truth.store_truth`."""
        check_region(self.settings)
        return store_truth(self.settings, self.as_of(as_of), progress)
