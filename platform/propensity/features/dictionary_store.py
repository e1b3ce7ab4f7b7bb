"""The feature dictionary in the catalogue: it only grows, and an index stays with its (signal, key)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from sqlalchemy import select, text

from propensity.features.dictionary import FeatureDictionary
from propensity.warehouse.catalogue import Category, Feature, Signal
from propensity.warehouse.catalogue_session import catalogue_session

if TYPE_CHECKING:
    from propensity.features.signal_files import SignalFile
    from propensity.settings import Settings


def load_dictionary(settings: Settings) -> FeatureDictionary:
    """Return the region's dictionary, empty before the first build. Read-only."""
    with catalogue_session(settings) as session:
        table = session.connection().connection.driver_connection.execute(  # type: ignore[union-attr]
            "SELECT family, signal, key, category_index FROM features WHERE region = ? ORDER BY feature_index",
            [settings.region]).to_arrow_table()
    return FeatureDictionary(
        *(table.column(name).to_numpy() for name in ("family", "signal", "key")),
        category_index=table.column("category_index").to_numpy().astype(np.int32))


def extend_dictionary(
    settings: Settings, built: list[tuple[SignalFile, tuple[str, ...], list[str]]]
) -> FeatureDictionary:
    """Give an index to every new (signal, key) and return the whole dictionary.

    Args:
        built: Per signal file the names of its signals and the sorted keys that occurred.

    Side effects: appends to the catalogue's `features` and updates `signals`. Safe to repeat: what is known stays.
    """
    region = settings.region
    with catalogue_session(settings) as session:
        category_index = {row.category: row.category_index for row in session.execute(
            select(Category.category, Category.category_index).where(Category.region == region))}
        known = {(row.signal, row.key) for row in session.execute(
            select(Feature.signal, Feature.key).where(Feature.region == region))}
        new: list[tuple[str, str, str, int]] = []
        for file, signals, keys in built:
            for signal in signals:
                session.merge(Signal(
                    region=region, signal=signal, family=file.family, key_kind=file.key_kind,
                    category_aligned=file.category_aligned))
                new += [
                    (file.family, signal, key, category_index[key] if file.category_aligned else -1)
                    for key in keys if (signal, key) not in known]
        if new:
            families, signals_, keys_, aligned = zip(*new, strict=True)
            first = len(known)
            table = pa.table({
                "region": [region] * len(new), "feature_index": np.arange(first, first + len(new), dtype=np.int32),
                "family": families, "signal": signals_, "key": keys_, "category_index": np.array(aligned, np.int32)})
            session.flush()
            # DuckDB's row-by-row insert takes minutes where this takes milliseconds.
            raw = session.connection().connection.driver_connection
            raw.register("new_features", table)  # type: ignore[union-attr]
            session.execute(text(
                "INSERT INTO features (region, feature_index, family, signal, key, category_index) "
                "SELECT region, feature_index, family, signal, key, category_index FROM new_features"))
            raw.unregister("new_features")  # type: ignore[union-attr]
    return load_dictionary(settings)
