"""The whole job on Complete Journey, and what a marketer does with its result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.table import Table

from propensity.console import ConsoleObserver, output
from propensity.evaluation.report import comparison_table
from propensity.warehouse.complete_journey import NOTE

if TYPE_CHECKING:
    from propensity.api import Platform

AS_OF = "2017-11-01"
CATEGORY = "SOFT DRINKS"


def run_demo(platform: Platform) -> None:
    """Import, build, train, score and publish as of AS_OF, evaluate on the month after it, and read the result.

    Side effects: those of the stages, in `platform.home`. Run again, it finds everything finished.
    """
    settings = platform.settings
    started = time.monotonic()
    with ConsoleObserver() as observer:
        began = time.monotonic()
        imported = platform.import_complete_journey(progress=observer.progress)
        observer.finished(
            "import",
            f"{imported.run.rows:,} events"
            + (", imported before" if imported.already_imported else "")
            + f"; {sum(imported.quarantined.values()):,} rows set aside",
            time.monotonic() - began,
        )
        platform.run(AS_OF, observer)
        began = time.monotonic()
        platform.build_labels([AS_OF], observer.progress)
        evaluation = platform.evaluate(AS_OF, progress=observer.progress)
        observer.finished(
            "evaluate",
            f"{evaluation.check['households']:,} customers x {evaluation.check['categories']} categories",
            time.monotonic() - began,
        )
        began = time.monotonic()
        page = platform.report(evaluation.model.model_version, AS_OF, observer.progress)
        observer.finished("report", "one HTML page", time.monotonic() - began)

    output.print()
    output.print(
        comparison_table(evaluation.evaluations, title=f"Held-out purchases of the 30 days from {AS_OF}", caption=NOTE)
    )
    audience = platform.audience(CATEGORY, 5)
    customer = str(audience["customer_id"].iloc[0])
    output.print(f"\nTop 5 categories of customer {customer} (Feast online store)")
    output.print(_table([(entry.category, f"{entry.propensity:.3f}") for entry in platform.top(customer, 5)]))
    output.print(f"\nTop 5 customers for {CATEGORY} (SQL over the propensity table)")
    output.print(_table([(str(row.customer_id), f"{row.propensity:.3f}") for row in audience.itertuples(index=False)]))
    output.print(
        f"""
artifact    {evaluation.model.artifact}
report      {page.path}
figures     {evaluation.report.with_suffix(".json")}
lake        {settings.lake}
catalogue   {settings.warehouse}
took        {time.monotonic() - started:.0f} s

Next:
  .venv/bin/propensity top {customer}
  .venv/bin/propensity audience "{CATEGORY}" --top 100 --csv audience.csv
  .venv/bin/propensity sql "SELECT category, avg(propensity) FROM propensity_long GROUP BY ALL ORDER BY 2 DESC LIMIT 5"
  .venv/bin/feast -c feature_repo feature-views list
  .venv/bin/propensity run --as-of 2017-12-01
  .venv/bin/propensity --help
""".rstrip()
    )


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table
