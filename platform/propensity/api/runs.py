"""What there is of runs, and the two levers on publications: publish again, let expire."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from propensity.api.region import AsOf, Region
from propensity.progress import Progress, silent
from propensity.scoring.expiring import Expiry, by_retention, expire, named, replaced
from propensity.scoring.republishing import Republication, republish
from propensity.warehouse.regions import check_region
from propensity.warehouse.run_details import RunDetails, run_details
from propensity.warehouse.runs import RunRecord, list_runs


class Runs(Region):
    """What there is of runs, and the two levers on publications."""

    def runs(self, *, kind: str | None = None, as_of: AsOf | None = None, state: str | None = None) -> list[RunRecord]:
        """Return the region's runs, oldest first; of one kind, as_of and state if given."""
        check_region(self.settings)
        instant = None if as_of is None else self.as_of(as_of)
        return list_runs(self.settings, kind=kind, as_of=instant, state=state)

    def run_details(self, run_id: str) -> RunDetails:
        """Describe a run with its files and its standing; see `warehouse.run_details.run_details`."""
        check_region(self.settings)
        return run_details(self.settings, run_id)

    def republish(self, run_id: str, progress: Progress = silent) -> Republication:
        """Publish an older run again as the newest of its as_of; see `scoring.republishing.republish`.

        What is online follows by `Platform.materialize`.
        """
        check_region(self.settings)
        return republish(self.settings, run_id, progress)

    def expire(
        self,
        run_ids: Iterable[str] = (),
        *,
        keep: int | None = None,
        older_than: timedelta | None = None,
        dry_run: bool = False,
    ) -> Expiry:
        """Let publications expire: these, else those that `keep` or `older_than` choose, else by the settings.

        See `scoring.expiring.expire`, `replaced` and `named`.
        """
        check_region(self.settings)
        chosen = tuple(run_ids)
        if chosen:
            choice = named(chosen)
        elif keep is None and older_than is None:
            choice = by_retention(self.settings)
        else:
            choice = replaced(keep=keep, older_than=older_than)
        return expire(self.settings, choice, dry_run=dry_run)
