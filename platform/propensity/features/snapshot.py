"""A snapshot as those see it that read one: values alone, so that workers get it without the catalogue's library."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from propensity.features.generations import contents_of


@dataclass(frozen=True)
class Snapshot:
    """A finished snapshot (or its labels): its as_of, its run, and its number of customers."""

    as_of: datetime
    run_id: str
    rows: int

    @property
    def contents(self) -> str:
        """Names what the run was made of: equal for runs of the same inputs."""
        return contents_of(self.run_id)
