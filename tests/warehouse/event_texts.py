"""Small CSV texts of events and items, and their import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from propensity.settings import Settings
from propensity.warehouse.event_sources import import_events_from
from propensity.warehouse.import_result import ImportResult
from propensity.warehouse.items import import_items_from

HEADER = "customer_id,event_timestamp,event_type,item_id,category,quantity,value,discount,promoted,created_timestamp\n"
GOOD = "c1,2017-05-01 12:00:00,,,WINE,1,2.5,,,\n"


def import_text(settings: Settings, source: Path, text: str, **options: Any) -> ImportResult:
    source.write_text(text, encoding="utf-8")
    return import_events_from(settings, str(source), **options)


def import_items(settings: Settings, directory: Path) -> None:
    items = directory / "items.csv"
    items.write_text("item_id,category,brand,excluded\ni1, WINE ,Spar,\ni2,VOUCHERS,,yes\ni3,,,\n")
    import_items_from(settings, str(items))
