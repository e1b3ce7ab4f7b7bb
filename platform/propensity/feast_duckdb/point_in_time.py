"""Point-in-time retrieval as SQL: locate each spine row's newest feature row by key, then fetch the winners.

The ASOF join carries numbered keys and event times only, so its cost grows with rows, not with rows × snapshots, and
wide columns (lists) are read once, for winning rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from propensity.feast_duckdb import dialect, types
from propensity.feast_duckdb.errors import EntityFrameError
from propensity.feast_duckdb.locate import Instants, instants_of, locate, span_of
from propensity.feast_duckdb.request import Script, ViewRequest, Window
from propensity.feast_duckdb.spine import EVENT_TIMESTAMP, Spine, unique_name

_NUMBERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "DOUBLE",
)

_MODEST_BYTES = 1 << 30
"""Up to here a second thread saves a fraction of a second. On a busy machine it costs CPU time: DuckDB's caller polls,
without a pause, while another thread that has to wait for a core does the work. See docs/offline_store.md."""


def join_script(
    requests: Sequence[ViewRequest], spine: Spine, *, known_only: bool, window: Window | None = None
) -> Script:
    """Write the join of a spine with any number of views.

    Args:
        requests: the views; those without files give NULL of their declared types.
        spine: the rows to join to.
        known_only: leave out rows created after the spine row's event time (Feast's
            filter_by_created_timestamp); views without a created column are not affected.
        window: event times of a retrieval by date range; otherwise they follow from the spine and the ttl.

    Raises:
        EntityFrameError: names or key types can't be joined.
    """
    _require_distinct_names(spine, requests)
    span, measuring = span_of(spine.table, "event_us")
    preparation = [*spine.statements, *measuring]
    statements: list[str] = []
    instants: dict[tuple[str, ...], Instants] = {}
    parts = [([f"{spine.column(name)} AS {dialect.name(name)}" for name in spine.names], "")]
    for index, request in enumerate(requests):
        spine.require(tuple(request.keys))
        if request.relation.is_empty:
            nulls = [f"NULL::{types.duckdb_type(kind)} AS {dialect.name(out)}" for out, _, kind in request.features]
            parts.append((nulls, ""))
            continue
        oldest = f"({span.lower} - {request.ttl_us})" if request.ttl_us is not None else None
        view_window = window or Window(oldest, span.upper)
        staged, staging = _numbered(request, view_window)
        keys = tuple(_spine_key(request, spine, key) for key in request.keys)
        if keys not in instants:  # views of one entity share its numbers
            instants[keys] = instants_of(spine, keys)
            preparation += instants[keys].statements
        located = unique_name("located")
        winners, measured = span_of(located, "t")
        locating = locate(staged, instants[keys], located, span, view_window, known_only=known_only)
        statements += [*staging, *locating, *measured]
        columns = [f"view_{index}.f{place} AS {dialect.name(out)}" for place, (out, _, _) in enumerate(staged.features)]
        parts.append((columns, _fetch(staged, located, winners, index)))
    names = (*spine.names, *(out for request in requests for out, _, _ in request.features))
    query = _result(spine, parts)
    pieces = tuple(_result(spine, [part]) for part in parts if part[0])
    if spine.is_small:
        sizes = [request.relation.file_bytes for request in requests]
        is_modest = None not in sizes and sum(size or 0 for size in sizes) <= _MODEST_BYTES
        return Script(tuple(statements), query, names, pieces, tuple(preparation), is_modest)
    return Script((*preparation, *statements), query, names, pieces)


def _result(spine: Spine, parts: Sequence[tuple[list[str], str]]) -> str:
    return dialect.render(
        "result",
        columns=", ".join(column for columns, _ in parts for column in columns),
        spine=spine.table,
        joins="\n".join(join for _, join in parts),
    )


def _require_distinct_names(spine: Spine, requests: Sequence[ViewRequest]) -> None:
    seen = set(spine.names)
    for request in requests:
        for out, _, _ in request.features:
            if out in seen:
                raise EntityFrameError(
                    f"Feature {out!r} of view {request.view!r} has the name of another column in the result. "
                    "Use full_feature_names=True, or rename the entity frame's column."
                )
            seen.add(out)


def _numbered(request: ViewRequest, window: Window) -> tuple[ViewRequest, list[str]]:
    relation = request.relation
    if relation.row_id:
        return request, []
    created = [request.created] if request.created else []
    features = [source for _, source, _ in request.features]
    kept = [*request.keys.values(), request.timestamp, *created, *features]
    within = relation.between(request.timestamp, window.lower, window.upper)
    staged, statements = relation.staged(unique_name("staged"), kept, within)
    return replace(request, relation=staged), statements


def _spine_key(request: ViewRequest, spine: Spine, key: str) -> str:
    ours, theirs = spine.kind(key), request.relation.columns[request.keys[key]]
    if ours.strip('"') == "NULL":
        return f"CAST({spine.column(key)} AS {theirs})"
    if {ours, theirs} & {"VARCHAR"} and {ours, theirs} & set(_NUMBERS):
        raise EntityFrameError(
            f"Join key {key!r} is {ours} in the entity frame and {theirs} in {request.relation.label}. "
            "Convert the frame's column."
        )
    return spine.column(key)


def _fetch(request: ViewRequest, located: str, winners: Window, index: int) -> str:
    relation = request.relation
    features = [relation.column(source) for _, source, _ in request.features] or ["NULL"]
    return dialect.render(
        "fetch",
        index=str(index),
        located=located,
        columns=", ".join(f"wide.f{place}" for place in range(len(features))),
        features=", ".join(f"{column} AS f{place}" for place, column in enumerate(features)),
        source=relation.from_sql,
        row_id=", ".join(f"{column} AS {name}" for name, column in relation.place_names().items()),
        row_id_names=", ".join(relation.place_names()),
        within=relation.between(request.timestamp, winners.lower, winners.upper),
    )


def spine_of_range(requests: Sequence[ViewRequest], window: Window) -> Spine:
    """Make a spine of every (keys, event time) that occurs in the views within a date range.

    Views with fewer keys give NULL for the others, and match no other view there.
    """
    keys = tuple(dict.fromkeys(key for request in requests for key in request.keys))
    names = (EVENT_TIMESTAMP, *keys)
    kinds = dict.fromkeys(keys, "VARCHAR")
    parts = [_no_rows(keys)]
    for request in requests:
        relation = request.relation
        if relation.is_empty:
            continue
        kinds |= {key: relation.columns[column] for key, column in request.keys.items()}
        columns = [f"{relation.column(column)} AS e{names.index(key)}" for key, column in request.keys.items()]
        selected = ", ".join([f"{relation.epoch_us(request.timestamp)} AS event_us", *columns])
        within = relation.between(request.timestamp, window.lower, window.upper)
        present = [f"{relation.column(column)} IS NOT NULL" for column in request.keys.values()]
        condition = dialect.conjunction([within, *present])
        parts.append(f"SELECT {selected} FROM {relation.from_sql} AS src WHERE {condition}")
    # Without rows of its own, the first part only fixes the order of columns.
    table = unique_name("spine")
    order = ", ".join(["event_us", *(f"e{place}" for place in range(1, len(names)))])
    create = dialect.render("spine_of_range", spine=table, order=order, rows=" UNION ALL BY NAME ".join(parts))
    return Spine(table, names, ("TIMESTAMP WITH TIME ZONE", *(kinds[key] for key in keys)), (create,))


def _no_rows(keys: Sequence[str]) -> str:
    columns = ["NULL::BIGINT AS event_us", *(f"NULL AS e{place}" for place in range(1, len(keys) + 1))]
    return f"SELECT {', '.join(columns)} WHERE FALSE"
