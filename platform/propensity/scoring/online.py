"""Putting a published run online: its rows go to Feast's online store in chunks, never over newer ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from propensity import columns
from propensity.errors import PublicationError
from propensity.features.feature_store import open_feature_store
from propensity.progress import Progress, silent
from propensity.scoring.online_chunks import Bookmark, Place, read_chunks
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.publications import (
    PUBLISHED,
    SCORING_RUN,
    age_order,
    directory_of,
    newest_online,
    publications,
)
from propensity.warehouse.runs import RunRecord, mark_run, runs_within

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore, FeatureView
    from feast.infra.provider import Provider

    from propensity.settings import Settings

_MOST_ROWS: Final = 10_000
"""In a chunk, where feature_store.yaml sets no online_write_batch_size."""


def materialize(settings: Settings, run: RunRecord, progress: Progress = silent) -> bool:
    """Write the run's top categories (and full vectors, if set) to Feast's online store; return whether it did.

    A run that is online already, or older than the newest that is, is left alone. Killed and called again it goes on
    behind its last chunk. Two processes may do this at once, with the same run or with two: the store keeps the newer
    row of a customer, whoever writes last.

    Raises:
        PublicationError: The run's files are gone or hold other rows than were published.
        WarehouseError: `feast apply` was never run for this home.

    Side effects: writes to the online store and to Feast's registry; marks the run in the catalogue.
    """
    views = [columns.TOP_CATEGORIES_VIEW] + ([columns.CATEGORY_PROPENSITY] if settings.online_full_vectors else [])
    if not _is_due(publications(settings), run, views):
        return False
    store = open_feature_store(settings)
    bookmarks = settings.home / "feast" / "going_online"
    for name in views:
        into = _OnlineView.of(store, name)
        bookmark = Bookmark(bookmarks / f"{run.run_id}.{name}.json")
        if not _write(settings, into, run, bookmark, progress):
            return False
        into.note_interval(run)
    with catalogue_session(settings) as session:
        published = runs_within(session, settings.region, kind=SCORING_RUN, state=PUBLISHED)
        if not _is_due(published, run, views):
            return False  # a newer one has overtaken it, and its rows have won
        mark_run(session, run.run_id, online=datetime.now(UTC).isoformat(), online_views=views)
    newer = {other.run_id for other in published if age_order(other) > age_order(run)}
    for file in bookmarks.glob("*"):
        if file.name.split(".")[0] not in newer:
            file.unlink(missing_ok=True)
    return True


def _is_due(published: Sequence[RunRecord], run: RunRecord, views: Sequence[str]) -> bool:
    if run.run_id not in {other.run_id for other in published}:
        return False
    online = newest_online(published)
    if online is None or age_order(online) < age_order(run):
        return True
    return online.run_id == run.run_id and not set(views) <= set(online.detail.get("online_views", []))


@runtime_checkable
class _WritesArrow(Protocol):
    """An online store that needs no Python object per number, such as the one feature_store.yaml names."""

    def write_arrow(self, config: Any, table: Any, batch: pa.RecordBatch) -> None:
        """Write a batch of a view's source."""


@dataclass(frozen=True)
class _OnlineView:
    """A feature view, and the store behind it."""

    store: FeatureStore
    provider: Provider
    view: FeatureView
    join_keys: dict[str, Any]

    @staticmethod
    def of(store: FeatureStore, name: str) -> _OnlineView:
        """Find the view by name."""
        from feast.infra.provider import get_provider  # noqa: PLC0415 - seconds that most commands needn't wait for

        view = store.get_feature_view(name)
        keys = {entity.name: entity.dtype.to_value_type() for entity in view.entity_columns}
        return _OnlineView(store, get_provider(store.config), view, keys)

    @property
    def columns(self) -> list[str]:
        """What of a run's files it takes."""
        return [
            *self.join_keys,
            *(feature.name for feature in self.view.features),
            columns.EVENT_TIMESTAMP,
            columns.CREATED_TIMESTAMP,
        ]

    @property
    def most_rows(self) -> int:
        """Rows that Feast's own materialization writes at once."""
        return self.store.config.materialization_config.online_write_batch_size or _MOST_ROWS

    def rows(self, batch: pa.RecordBatch) -> list[Any]:
        """Return a batch as online stores take it."""
        from feast.utils import _convert_arrow_to_proto  # noqa: PLC0415 - what Feast's own engines call

        return list(_convert_arrow_to_proto(batch, self.view, self.join_keys))

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a batch, whole or not at all."""
        online_store = getattr(self.provider, "online_store", None)
        if isinstance(online_store, _WritesArrow):
            online_store.write_arrow(self.store.config, self.view, batch)
            return
        self.provider.online_write_batch(self.store.config, self.view, self.rows(batch), None)

    def holds_last_of(self, batch: pa.RecordBatch) -> bool:
        """Return whether the store holds the batch's last row."""
        ((key, values, _, _),) = self.rows(batch.slice(batch.num_rows - 1))
        ((_, found),) = self.provider.online_read(self.store.config, self.view, [key])
        return bool(found == values)

    def note_interval(self, run: RunRecord) -> None:
        """Tell Feast's registry, so that `feast materialize-incremental` goes on from there."""
        assert run.as_of is not None
        around = timedelta(seconds=1)
        self.store.registry.apply_materialization(self.view, self.store.project, run.as_of - around, run.as_of + around)


def _write(settings: Settings, into: _OnlineView, run: RunRecord, bookmark: Bookmark, progress: Progress) -> bool:
    """Write a run's rows behind its bookmark; return False where the run has expired meanwhile."""
    directory = directory_of(settings, run)
    after = bookmark.read()
    if after is not None and not _reached(into, directory, after):
        after = None
    done = 0 if after is None else after.done
    try:
        for batch, place in read_chunks(directory, into.columns, into.most_rows, after):
            into.write(batch)
            bookmark.keep(place)
            done = place.done
            progress("online", done, run.rows)
    except (FileNotFoundError, KeyError) as error:
        why = str(error)
    else:
        why = f"{done:,} rows"
    if done == run.rows:
        return True
    if run.run_id not in {other.run_id for other in publications(settings)}:
        return False
    raise PublicationError(
        f"Run {run.run_id} can't go online whole: {run.rows:,} rows were published, and {directory} has {why}. "
        "Score again: propensity score --help"
    )


def _reached(into: _OnlineView, directory: Path, place: Place) -> bool:
    """Return whether the row before the place is online: somebody may have deleted the store's file since."""
    before = Place(place.file, place.rows - 1, place.done - 1)
    last = next(read_chunks(directory, into.columns, 1, before), None)
    return last is not None and last[1] == place and into.holds_last_of(last[0])
