"""From feature views and entity rows to a point-in-time script: what Feast's arguments mean here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_NAME, FeatureView
from feast.infra.offline_stores.offline_store import RetrievalMetadata

from propensity.feast_duckdb import location
from propensity.feast_duckdb.connection import Session, SessionSettings, open_session
from propensity.feast_duckdb.errors import EntityFrameError, SourceDefinitionError
from propensity.feast_duckdb.opening import open_relation
from propensity.feast_duckdb.point_in_time import join_script, spine_of_range
from propensity.feast_duckdb.pull import epoch_microseconds
from propensity.feast_duckdb.request import Script, ViewRequest, Window
from propensity.feast_duckdb.source import DuckDBSource
from propensity.feast_duckdb.spine import Spine, event_timestamp_name, spine_of_frame, spine_of_query

_LONGEST_TTL_US = 2**62  # longer than DuckDB's time line from any instant in use: for ever

Plan = Callable[[Session], Script]


@dataclass(frozen=True)
class HistoricalRequest:
    """Which features to retrieve, and by which rules.

    Attributes:
        views: the feature views, with their projections.
        feature_refs: "view:feature", in output order within each view.
        full_feature_names: name features view__feature.
        known_only: leave out rows created after the entity row's event time.
    """

    views: Sequence[FeatureView]
    feature_refs: Sequence[str]
    full_feature_names: bool
    known_only: bool

    def of_frame(self, rows: pa.Table) -> Plan:
        """Join to an entity table."""
        return lambda session: self._join(session, spine_of_frame(session, rows))

    def of_query(self, query: str) -> Plan:
        """Join to the rows of a SELECT, which sees the tables of the views' database if they share one."""

        def plan(session: Session) -> Script:
            return self._join(session, spine_of_query(session, query, self._context(session)))

        return plan

    def of_range(self, start: datetime, end: datetime) -> Plan:
        """Join the views to each other at every (keys, event time) within inclusive bounds."""
        window = Window(str(epoch_microseconds(start)), str(epoch_microseconds(end)))

        def plan(session: Session) -> Script:
            requests = self._requests(session)
            return join_script(requests, spine_of_range(requests, window), known_only=self.known_only, window=window)

        return plan

    def metadata_of_query(self, settings: SessionSettings, query: str) -> RetrievalMetadata:
        """Run the entity query for its time range."""
        with open_session(settings) as session:
            rows = spine_of_query(session, query, self._context(session))
            for statement in rows.statements:
                session.execute(statement)
            bounds = f"SELECT make_timestamptz(min(event_us)), make_timestamptz(max(event_us)) FROM {rows.table}"
            table = session.execute(bounds).to_arrow_table()
        event = event_timestamp_name(dict(zip(rows.names, rows.kinds, strict=True)))
        keys = [name for name in rows.names if name != event]
        start, end = (column[0].as_py() for column in table.columns)
        return RetrievalMetadata(list(self.feature_refs), keys, start, end)

    def join_keys(self) -> list[str]:
        """Give the entity columns that the views need together."""
        return list(dict.fromkeys(key for view in self.views for key in _keys(view)))

    def _join(self, session: Session, spine: Spine) -> Script:
        return join_script(self._requests(session), spine, known_only=self.known_only)

    def _requests(self, session: Session) -> list[ViewRequest]:
        return [self._request(session, view) for view in self.views]

    def _request(self, session: Session, view: FeatureView) -> ViewRequest:
        source = view.batch_source
        if source is None:
            raise SourceDefinitionError(f"Feature view {view.name!r} has no batch source to retrieve from.")
        raw = {mapped: column for column, mapped in source.field_mapping.items()}
        # References carry a pinned version (view@v2), output names don't.
        reference, label = view.projection.name_to_use(), view.projection.name_alias or view.name  # type: ignore[no-untyped-call]
        wanted = [ref.split(":", 1)[1] for ref in self.feature_refs if ref.startswith(f"{reference}:")]
        declared = {field.name: field.dtype for field in view.features}
        features = tuple(
            (f"{label}__{name}" if self.full_feature_names else name, raw.get(name, name), declared.get(name))
            for name in dict.fromkeys(wanted)
        )
        created = source.created_timestamp_column or None
        ttl_us = round(view.ttl.total_seconds() * 1_000_000) if view.ttl else None
        request = ViewRequest(
            view=view.name,
            relation=open_relation(session, source),
            keys={ours: raw.get(theirs, theirs) for ours, theirs in _keys(view).items()},
            timestamp=raw.get(source.timestamp_field, source.timestamp_field),
            created=raw.get(created, created) if created else None,
            features=features,
            ttl_us=ttl_us if ttl_us is not None and ttl_us < _LONGEST_TTL_US else None,
        )
        if not request.relation.is_empty:
            request.require()
        return request

    def _context(self, session: Session) -> str | None:
        sources = [view.batch_source for view in self.views]
        databases = {source.database for source in sources if isinstance(source, DuckDBSource) and source.database}
        if len(databases) != 1:
            return None
        return session.attach(location.absolute(session.settings.base_path, databases.pop()))


def _keys(view: FeatureView) -> dict[str, str]:
    """Give entity frame column -> feature column, as the view's source maps it."""
    columns = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    if not view.entity_columns and view.entities not in ([], [DUMMY_ENTITY_NAME]):
        raise EntityFrameError(
            f"Feature view {view.name!r} knows no type for its join keys, since its source had no data when "
            "it was applied. Give its entities a value_type, or list the keys in its schema, and apply again."
        )
    return {view.projection.join_key_map.get(column, column): column for column in columns}
