"""Running a signal file: its SELECT becomes the connection's table `signal`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import duckdb

from propensity.errors import SettingsError

if TYPE_CHECKING:
    from propensity.features.signal_files import SignalFile

LEADING_COLUMNS: Final = ("snapshot", "customer_id", "key")


def run_signal_file(connection: duckdb.DuckDBPyConnection, file: SignalFile) -> tuple[str, ...]:
    """Fill the table `signal` and return the names of the file's signals, in its order.

    Raises:
        SettingsError: DuckDB refuses the SQL, or its columns aren't those of a signal file.
    """
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE signal AS {file.sql}")
    except duckdb.Error as error:
        raise SettingsError(f"signals/{file.name}.sql: {str(error).strip().splitlines()[0]}") from error
    described = connection.execute("DESCRIBE signal").fetchall()
    return signals_of(file, [str(name) for name, *_ in described])


def signals_of(file: SignalFile, selected: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a file's signals, in its order.

    Args:
        file: The signal file.
        selected: The columns that it selects.

    Raises:
        SettingsError: They aren't those of a signal file.
    """
    names = tuple(selected)
    if names[: len(LEADING_COLUMNS)] != LEADING_COLUMNS or len(names) == len(LEADING_COLUMNS):
        raise SettingsError(
            f"signals/{file.name}.sql selects {', '.join(names)}; it must select "
            f"{', '.join(LEADING_COLUMNS)} and then one column per signal."
        )
    return names[len(LEADING_COLUMNS) :]
