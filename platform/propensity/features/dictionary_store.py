"""The feature dictionary in the catalogue: it only grows, and an index stays with its (signal, key)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Occurring:
    """What a signal file gave: the names of its signals and the keys that occurred, sorted."""

    file: SignalFile
    signals: tuple[str, ...]
    keys: list[str]


class FeatureIndices:
    """The dictionary during a build: gives every (signal, key) its index, a new one where it has none.

    The catalogue is opened for what is new only, and once for all files: each opening costs as much as a small signal.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the dictionary of the region."""
        self._settings = settings
        self._described: dict[str, tuple[str, str, bool]] = {}
        self._index: dict[str, dict[str, int]] = {}
        with catalogue_session(settings) as session:
            self._load(session)

    def of(self, signal: str, keys: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return the signal's index with each key, int32, (n_keys,)."""
        index = self._index.get(signal, {})
        return np.array([index[key] for key in keys], np.int32)

    def extend(self, built: Sequence[Occurring]) -> None:
        """Give an index to every (signal, key) that has none.

        Raises:
            SettingsError: Two files give a signal of the same name, or a key of a category-aligned file is no category.

        Side effects: appends to the catalogue's `features`, updates `signals`. Safe to repeat: what is known stays.
        """
        _check_names(built)
        described = {
            signal: (each.file.family, each.file.key_kind, each.file.category_aligned)
            for each in built
            for signal in each.signals
        }
        if all(self._described.get(signal) == what for signal, what in described.items()) and not self._new(built):
            return
        region = self._settings.region
        with catalogue_session(self._settings) as session:
            self._load(session)  # another build may have been faster
            new = self._new(built)
            categories = _category_indices(session, region)
            _check_aligned(new, categories, region)
            first = sum(len(known) for known in self._index.values())
            names = list(described)
            _put(
                session,
                "INSERT OR REPLACE INTO signals",
                {
                    "region": pa.repeat(region, len(names)),
                    "signal": names,
                    "family": [described[signal][0] for signal in names],
                    "key_kind": [described[signal][1] for signal in names],
                    "category_aligned": [described[signal][2] for signal in names],
                },
            )
            _put(
                session,
                "INSERT INTO features",
                {
                    "region": pa.repeat(region, len(new)),
                    "feature_index": np.arange(first, first + len(new), dtype=np.int32),
                    "family": pa.array([file.family for file, _, _ in new], pa.string()),
                    "signal": pa.array([signal for _, signal, _ in new], pa.string()),
                    "key": pa.array([key for _, _, key in new], pa.string()),
                    "category_index": np.array(
                        [categories[key] if file.category_aligned else -1 for file, _, key in new], np.int32
                    ),
                },
            )
        self._described |= described
        for index, (_, signal, key) in enumerate(new, start=first):
            self._index.setdefault(signal, {})[key] = index

    def _new(self, built: Sequence[Occurring]) -> list[tuple[SignalFile, str, str]]:
        return [
            (each.file, signal, key)
            for each in built
            for signal in each.signals
            for key in each.keys
            if key not in self._index.get(signal, {})
        ]

    def _load(self, session: Session) -> None:
        region = self._settings.region
        self._described = {
            signal: (family, key_kind, category_aligned)
            for signal, family, key_kind, category_aligned in session.execute(
                select(Signal.signal, Signal.family, Signal.key_kind, Signal.category_aligned).where(
                    Signal.region == region
                )
            )
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


def _put(session: Session, insert_into: str, rows: dict[str, Any]) -> None:
    # DuckDB's row-by-row insert takes minutes where this takes milliseconds.
    raw = _duckdb(session)
    raw.register("new_rows", pa.table(rows))
    names = ", ".join(rows)
    session.execute(text(f"{insert_into} ({names}) SELECT {names} FROM new_rows"))
    raw.unregister("new_rows")


def _duckdb(session: Session) -> Any:
    return session.connection().connection.driver_connection


def _category_indices(session: Session, region: str) -> dict[str, int]:
    rows = session.execute(select(Category.category, Category.category_index).where(Category.region == region))
    return {row.category: row.category_index for row in rows}


def _check_names(built: Sequence[Occurring]) -> None:
    given: dict[str, str] = {}
    for each in built:
        for signal in each.signals:
            if signal in given:
                raise SettingsError(
                    f"signals/{each.file.name}.sql and signals/{given[signal]}.sql both give a signal {signal!r}. "
                    "Name one of them otherwise."
                )
            given[signal] = each.file.name


def _check_aligned(new: Sequence[tuple[SignalFile, str, str]], categories: dict[str, int], region: str) -> None:
    for file, _, key in new:
        if file.category_aligned and key not in categories:
            raise SettingsError(
                f"Signal file {file.name!r} is category-aligned, but its key {key!r} is no category of region "
                f"{region!r}. Select the column category as key, or leave out category_aligned in SIGNAL_FILES."
            )
