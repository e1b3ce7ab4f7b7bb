"""The relations that the SQL reads, as Spark has them: events by customer, small tables everywhere, parts of customers.

Customers don't meet in any statement: after one shuffle by customer, each stays within its task, but for joins with
small tables, which Spark sends to all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from propensity.features.events import event_files
from propensity.features.spark_sql import FILES, spark_statements
from propensity.features.staging import staging_sql
from propensity.spark_session import run_query

if TYPE_CHECKING:
    from propensity.settings import Settings
    from propensity.warehouse.runs import RunRecord

ROWS_PER_TASK: Final = 1_000_000
"""Events times snapshots that a task aggregates: a few hundred MB."""
ROWS_PER_PART: Final = 500_000
"""Customers times snapshots of a part, whose files a task writes."""
SAMPLED_PER_PART: Final = 128
"""Customers who decide where a part ends."""


class SparkRelations:
    """Views of a Spark session by name; what is kept of them is dropped when the block ends."""

    def __init__(self, spark: Any) -> None:
        """Take a session of one's own."""
        self.spark = spark
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the rows that were kept."""
        self._stack.close()

    def define(self, name: str, frame: Any, *, kept: bool = False) -> Any:
        """Make a DataFrame the view of that name; return it.

        Args:
            name: Of the view.
            frame: Its rows.
            kept: Compute them once and keep them, in the workers' memory or on their disks.
        """
        if kept:
            frame = frame.persist()
            self._stack.callback(frame.unpersist)
        frame.createOrReplaceTempView(name)
        return frame

    def tables(self, tables: dict[str, pa.Table]) -> None:
        """Make small tables views of their names; every worker gets them whole."""
        for name, table in tables.items():
            self.define(name, self.spark.createDataFrame(table).hint("broadcast"))

    def run(self, text: str, where: str, **parameters: str | int | list[str]) -> Any:
        """Define what the text's statements create; return the DataFrame of its plain SELECT, None without one.

        Args:
            text: DuckDB's SQL.
            where: Names the text in errors.
            parameters: What `$name` stands for.

        Raises:
            SettingsError: The text can't be put into Spark's SQL.
        """
        found = None
        for statement in spark_statements(text, where, **parameters):
            frame = run_query(self.spark, statement.query, where)
            if statement.name is None:
                found = frame
            else:
                self.define(statement.name, frame, kept=statement.kept)
        return found

    def read(self, files: Sequence[str]) -> None:
        """Make Parquet files the view that stands for `read_parquet(…)`."""
        # A path alone would be one of the cluster's default file system. Without the option, run=… in it were a column.
        paths = [f"file://{file}" for file in files]
        self.define(FILES, self.spark.read.option("recursiveFileLookup", "true").parquet(*paths))

    def stage_events(self, settings: Settings, imports: list[RunRecord], end_us: int, n_snapshots: int) -> None:
        """Define `staged`, the imports' events before an instant, each customer's in one task.

        Args:
            settings: Say where the lake is, and in which time zone days are.
            imports: Whose events.
            end_us: The instant in microseconds since 1970.
            n_snapshots: How often an event may be counted; decides on the number of tasks.

        Raises:
            MissingSnapshotError: The catalogue knows an import whose files are gone from the lake.
        """
        files = event_files(settings, imports)
        n_events = sum(pq.read_metadata(file).num_rows for file in files)
        n_tasks = max(1, -(-n_events * n_snapshots // ROWS_PER_TASK))
        self.spark.conf.set("spark.sql.shuffle.partitions", str(n_tasks))
        self.read(files)
        events = self.run(staging_sql(), "staging.sql", timezone=settings.timezone, end=end_us)
        self.define("staged", events.repartition(n_tasks, "customer_id"), kept=True)

    def parts_of(self, customers: str, n_rows: int) -> tuple[int, str]:
        """Divide the customers of a view into ranges; return how many, and a customer's range as an SQL expression.

        The ranges follow from the rows alone, not from how Spark divided them.

        Args:
            customers: A view with a column customer_id.
            n_rows: Rows of the view.
        """
        n_parts = max(1, -(-n_rows // ROWS_PER_PART))
        every = max(1, n_rows // (n_parts * SAMPLED_PER_PART))
        if n_parts == 1:
            return 1, "0"
        sample = self.spark.sql(
            f"SELECT DISTINCT customer_id FROM {customers} WHERE pmod(xxhash64(customer_id), {every}) = 0"
        )
        # Python and Spark both order strings by their code points.
        ids = sorted(str(row[0]) for row in sample.collect())
        bounds = sorted({ids[len(ids) * number // n_parts] for number in range(1, n_parts)} if ids else set())
        return len(bounds) + 1, range_of(bounds)


def range_of(bounds: Sequence[str], first: int = 0) -> str:
    """Return the SQL of `first` plus how many of the rising bounds customer_id isn't below: a binary search."""
    if not bounds:
        return str(first)
    middle = len(bounds) // 2
    bound = "'" + bounds[middle].replace("\\", "\\\\").replace("'", "\\'") + "'"
    below, above = range_of(bounds[:middle], first), range_of(bounds[middle + 1 :], first + middle + 1)
    return f"IF(customer_id < {bound}, {below}, {above})"
