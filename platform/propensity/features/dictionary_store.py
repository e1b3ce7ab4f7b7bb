"""The feature dictionary in the catalogue: it only grows, and an index stays with its (signal, key)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from sqlalchemy import select, text

from propensity.errors import SettingsError
from propensity.features.dictionary import FeatureDictionary
from propensity.warehouse.catalogue import Category, Signal
from propensity.warehouse.catalogue_session import catalogue_session

if TYPE_CHECKING:
    import numpy.typing as npt
    from sqlalchemy.orm import Session

    from propensity.features.signal_files import SignalFile
    from propensity.settings import Settings


def load_dictionary(settings: Settings) -> FeatureDictionary:
    """Return the region's dictionary, empty before the first build. Read-only."""
    with catalogue_session(settings) as session:
        table = _features(session, settings.region)
    family, signal, key, category_index = (column.to_numpy() for column in table.columns)
    return FeatureDictionary(family, signal, key, category_index.astype(np.int32))


class FeatureIndices:
    """The dictionary during a build: gives every (signal, key) its index, a new one where it has none.

    The catalogue is opened for what is new only, since each opening costs as much as a small signal.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the dictionary of the region."""
        self._settings = settings
        self._described: dict[str, tuple[str, str, bool]] = {}
        self._index: dict[str, dict[str, int]] = {}
        with catalogue_session(settings) as session:
            self._load(session)

    def of(self, file: SignalFile, signals: Sequence[str], keys: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return the index of each of the file's signals with each key, int32, (n_signals, n_keys).

        Raises:
            SettingsError: The file is category-aligned, but a key is no category.

        Side effects: appends to the catalogue's `features`, updates `signals`. Safe to repeat: what is known stays.
        """
        described = (file.family, file.key_kind, file.category_aligned)
        if any(self._described.get(signal) != described for signal in signals) or any(
            not self._index.get(signal, {}).keys() >= set(keys) for signal in signals
        ):
            self._extend(file, signals, keys)
        return np.array([[self._index[signal][key] for key in keys] for signal in signals], np.int32)

    def _extend(self, file: SignalFile, signals: Sequence[str], keys: Sequence[str]) -> None:
        region = self._settings.region
        with catalogue_session(self._settings) as session:
            self._load(session)  # another build may have been faster
            new = [(signal, key) for signal in signals for key in keys if key not in self._index.get(signal, {})]
            aligned = _category_indices(session, region, file, keys)
            for signal in signals:
                session.merge(
                    Signal(
                        region=region,
                        signal=signal,
                        family=file.family,
                        key_kind=file.key_kind,
                        category_aligned=file.category_aligned,
                    )
                )
            session.flush()
            first = sum(len(known) for known in self._index.values())
            _append(
                session,
                pa.table(
                    {
                        "region": pa.repeat(region, len(new)),
                        "feature_index": np.arange(first, first + len(new), dtype=np.int32),
                        "family": pa.repeat(file.family, len(new)),
                        "signal": pa.array([signal for signal, _ in new], pa.string()),
                        "key": pa.array([key for _, key in new], pa.string()),
                        "category_index": np.array([aligned.get(key, -1) for _, key in new], np.int32),
                    }
                ),
            )
            self._load(session)

    def _load(self, session: Session) -> None:
        region = self._settings.region
        self._described = {
            row.signal: (row.family, row.key_kind, row.category_aligned)
            for row in session.scalars(select(Signal).where(Signal.region == region))
        }
        self._index = {}
        table = _features(session, region)
        names = zip(table.column("signal").to_pylist(), table.column("key").to_pylist(), strict=True)
        for index, (signal, key) in enumerate(names):
            self._index.setdefault(signal, {})[key] = index


def _features(session: Session, region: str) -> pa.Table:
    return (
        _duckdb(session)
        .execute(
            "SELECT family, signal, key, category_index FROM features WHERE region = ? ORDER BY feature_index", [region]
        )
        .to_arrow_table()
    )


def _append(session: Session, table: pa.Table) -> None:
    # DuckDB's row-by-row insert takes minutes where this takes milliseconds.
    raw = _duckdb(session)
    raw.register("new_features", table)
    names = ", ".join(table.column_names)
    session.execute(text(f"INSERT INTO features ({names}) SELECT {names} FROM new_features"))
    raw.unregister("new_features")


def _duckdb(session: Session) -> Any:
    return session.connection().connection.driver_connection


def _category_indices(session: Session, region: str, file: SignalFile, keys: Sequence[str]) -> dict[str, int]:
    if not file.category_aligned:
        return {}
    known = {
        row.category: row.category_index
        for row in session.execute(select(Category.category, Category.category_index).where(Category.region == region))
    }
    for key in keys:
        if key not in known:
            raise SettingsError(
                f"Signal file {file.name!r} is category-aligned, but its key {key!r} is no category of region "
                f"{region!r}. Select the column category as key, or leave out category_aligned in SIGNAL_FILES."
            )
    return known
