"""Short transactions on `warehouse.duckdb`.

DuckDB locks its file across processes even against readers, so a session is opened, used for milliseconds and
closed; a busy file is retried for `lock_timeout_seconds`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import create_engine, event, inspect
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from propensity.errors import WarehouseError, WarehouseLockedError, WarehouseSchemaError
from propensity.warehouse.catalogue import Base

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.settings import Settings

T = TypeVar("T")


def catalogue_engine(path: Path, *, read_only: bool = False) -> Engine:
    """Return an engine on the catalogue file that keeps no connection open between uses."""
    engine = create_engine(
        URL.create("duckdb", database=str(path)), poolclass=NullPool, connect_args={"read_only": read_only}
    )

    @event.listens_for(engine, "connect")
    def _in_utc(connection: Any, _record: object) -> None:
        # Not in the connection's config: DuckDB reads that before it has loaded its time zones.
        connection.execute("SET TimeZone = 'UTC'")

    return engine


@contextmanager
def catalogue_session(settings: Settings) -> Iterator[Session]:
    """Open the catalogue, yield a session, commit when the block ends well, and close the file.

    Raises:
        WarehouseSchemaError: The catalogue doesn't exist or lacks tables this version needs.
        WarehouseLockedError: Another process kept the file for longer than `lock_timeout_seconds`.
        WarehouseError: The file is damaged or isn't a DuckDB database.
    """
    if not settings.warehouse.is_file():
        raise WarehouseSchemaError(f"There is no catalogue at {settings.warehouse}. Create it: propensity migrate")
    engine = catalogue_engine(settings.warehouse)
    connection = when_unlocked(engine.connect, settings)
    with connection:
        missing = set(Base.metadata.tables) - set(inspect(connection).get_table_names())
        if missing:
            raise WarehouseSchemaError(
                f"The catalogue {settings.warehouse} lacks {', '.join(sorted(missing))}. Run: propensity migrate"
            )
        with Session(bind=connection) as session:
            yield session
            session.commit()
        # The session joined the transaction that looking at the tables had begun.
        connection.commit()


def when_unlocked(open_it: Callable[[], T], settings: Settings) -> T:
    """Call `open_it`, retrying while another process holds the catalogue's lock.

    Raises:
        WarehouseLockedError: It stayed locked for `lock_timeout_seconds`; the message carries DuckDB's own words,
            which name the process that holds it.
        WarehouseError: The file can't be opened for another reason.
    """
    deadline = time.monotonic() + settings.lock_timeout_seconds
    while True:
        try:
            return open_it()
        except (OperationalError, DBAPIError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            if "Could not set lock" not in reason:
                raise WarehouseError(
                    f"Can't open the catalogue {settings.warehouse}: {reason} Restore it from a backup, or move it "
                    "away and run: propensity migrate"
                ) from error
            if time.monotonic() > deadline:
                raise WarehouseLockedError(
                    f"The catalogue is locked by another process: {reason} "
                    "Close that process, or raise PROPENSITY_LOCK_TIMEOUT_SECONDS."
                ) from error
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - jitter, not a secret
