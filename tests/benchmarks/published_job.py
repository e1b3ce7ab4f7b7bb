"""How long a scoring takes on many cores, from what one core was measured to take: the model of bench_published_job.py.

A run of r rows on C cores takes a + b r seconds: a line through the fewest and the most rows that were measured. A
part is the unit of work. C cores score P parts in ceil(P / C) turns of as long as a part takes, which is its rows times
b C, and the seconds to open the snapshot's range; longer by the share of the local engine's rate that a cluster
reaches. Before the first turn come a and what each core's process opens once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """What was measured at one number of customers.

    Attributes:
        customers: How many.
        read_bytes: A row's features in the lake.
        non_zeros: A row's features.
        forms: What `bench_scoring.score` returned, by output form.
        cores: That were at work for `forms`.
        alone: The same on one core alone, by output form; of some.
    """

    customers: int
    read_bytes: float
    non_zeros: float
    forms: dict[str, dict[str, float]]
    cores: int
    alone: dict[str, dict[str, float]]

    def rate(self, form: str) -> float:
        """Return rows a second of one core, all at work, with what a run takes once."""
        return self.customers / self.forms[form]["seconds"] / self.cores

    def written(self, form: str) -> float:
        """Return bytes a row."""
        return self.forms[form]["bytes"] / self.forms[form]["rows"]


@dataclass(frozen=True)
class Line:
    """Seconds of a run: `once` + `each` * customers.

    Attributes:
        once: Seconds, of all cores together.
        each: Seconds a row, likewise.
    """

    once: float
    each: float

    @classmethod
    def through(cls, first: Sample, last: Sample, form: str) -> Line:
        """Return the line through two samples."""
        left, right = first.forms[form]["seconds"], last.forms[form]["seconds"]
        each = (right - left) / (last.customers - first.customers)
        return cls(left - each * first.customers, each)

    def error(self, other: Sample, form: str) -> float:
        """Return by how much another sample took longer than the line says, as a share."""
        return other.forms[form]["seconds"] / (self.once + self.each * other.customers) - 1


@dataclass(frozen=True)
class Opening:
    """What is opened before rows are scored.

    Attributes:
        model: `seconds` and `bytes` of the model.
        snapshot: Of the job's customers: seconds to open it `once` and to open a further range `again`, and `bytes` in
            memory.
        row_groups: Of each of its files.
    """

    model: dict[str, float]
    snapshot: dict[str, float]
    row_groups: int


@dataclass(frozen=True)
class Work:
    """A scoring.

    Attributes:
        parts: Number of parts.
        part_rows: Customers in each.
        row_seconds: Of one core, from the lake to the published lake.
        part_seconds: To open the snapshot's range, for each part.
        once_seconds: Of the run, before its parts.
        read_bytes: A row's features in the lake.
        written_bytes: A row's scores in the lake.
        process_bytes: Memory of one core's process.
    """

    parts: int
    part_rows: int
    row_seconds: float
    part_seconds: float
    once_seconds: float
    read_bytes: float
    written_bytes: float
    process_bytes: float


@dataclass(frozen=True)
class Machines:
    """What scores.

    Attributes:
        count: How many.
        cores: Of each.
        share: Of the local engine's rows a second, what a core reaches there.
    """

    count: int
    cores: int
    share: float

    def seconds(self, work: Work) -> float:
        """Return how long the work takes."""
        turns = math.ceil(work.parts / (self.count * self.cores))
        return work.once_seconds + turns * self.part_seconds(work)

    def part_seconds(self, work: Work) -> float:
        """Return how long a core is at one part."""
        return (work.part_rows * work.row_seconds + work.part_seconds) / self.share

    def cost(self, work: Work, core_hour: float) -> float:
        """Return the price of the cores for as long as the work takes."""
        return self.seconds(work) / 3600 * self.count * self.cores * core_hour

    def read_rate(self, work: Work) -> float:
        """Return the bytes a second that one machine reads."""
        return self._rows(work) * work.read_bytes / self.seconds(work)

    def write_rate(self, work: Work) -> float:
        """Return the bytes a second that one machine writes."""
        return self._rows(work) * work.written_bytes / self.seconds(work)

    def _rows(self, work: Work) -> float:
        return work.parts * work.part_rows / self.count


def fewest(work: Work, cores: int, share: float, seconds: float) -> Machines:
    """Return the fewest machines that are done in time.

    Raises:
        ValueError: A single part takes longer.
    """
    one = Machines(1, cores, share)
    turns = math.floor((seconds - work.once_seconds) / one.part_seconds(work))
    if turns < 1:
        raise ValueError(f"{seconds:.0f} s are too short: one part takes {one.part_seconds(work):.0f} s")
    return Machines(math.ceil(math.ceil(work.parts / turns) / cores), cores, share)
