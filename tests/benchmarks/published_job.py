"""How long a scoring takes on many cores, from what one core was measured to take: the model of bench_published_job.py.

A run of r rows takes a + b r seconds on processors: a line through the fewest and the most rows that were measured. By
the clock it would be this machine's disk that is extrapolated. A part is the unit of work. C cores score P parts in
ceil(P / C) turns of as long as a part takes a core, which is b times its rows, and the seconds to open the snapshot's
range; longer by the share of the local engine's rate that a cluster reaches. Before the first turn come a and what each
core's process opens once. It takes no less than a machine's link to the storage needs for the machine's share of all
bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


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
        """Return rows a second by the clock, of all cores, with what a run takes once."""
        return self.customers / self.forms[form]["seconds"]

    def busy(self, form: str) -> float:
        """Return the share of the time in which the cores worked."""
        return self.forms[form]["cpu"] / self.forms[form]["seconds"] / self.cores

    def written(self, form: str) -> float:
        """Return bytes a row."""
        return self.forms[form]["bytes"] / self.forms[form]["rows"]


@dataclass(frozen=True)
class Line:
    """Processor seconds of a run: `once` + `each` * customers.

    Attributes:
        once: Seconds.
        each: Seconds a row.
    """

    once: float
    each: float

    @classmethod
    def through(cls, first: Sample, last: Sample, form: str) -> Line:
        """Return the line through two samples.

        Raises:
            RuntimeError: More customers took less time, so something else has disturbed them.
        """
        left, right = first.forms[form]["cpu"], last.forms[form]["cpu"]
        each = (right - left) / (last.customers - first.customers)
        if each <= 0:
            raise RuntimeError(f"{last.customers:,} customers took {right:.1f} s, {first.customers:,} {left:.1f} s")
        return cls(left - each * first.customers, each)

    def error(self, other: Sample, form: str) -> float:
        """Return by how much another sample took longer than the line says, as a share."""
        return other.forms[form]["cpu"] / (self.once + self.each * other.customers) - 1


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
        link: Bytes a second that each reads and writes at most, either way.
    """

    count: int
    cores: int
    share: float
    link: float

    def seconds(self, work: Work) -> float:
        """Return how long the work takes."""
        return max(self.core_seconds(work), self.link_seconds(work))

    def core_seconds(self, work: Work) -> float:
        """Return how long it takes the cores."""
        turns = math.ceil(work.parts / (self.count * self.cores))
        return work.once_seconds + turns * self.part_seconds(work)

    def link_seconds(self, work: Work) -> float:
        """Return how long it takes the link."""
        return work.once_seconds + self._rows(work) * max(work.read_bytes, work.written_bytes) / self.link

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


def fewest(work: Work, one: Machines, seconds: float) -> Machines:
    """Return the fewest machines like `one` that are done in time.

    Raises:
        ValueError: A single part takes longer.
    """
    if work.once_seconds + one.part_seconds(work) > seconds:
        raise ValueError(f"{seconds:.0f} s are too short: one part takes {one.part_seconds(work):.0f} s")
    found = one
    while found.seconds(work) > seconds:
        found = replace(found, count=found.count + 1)
    return found
