"""Which signals there are: one SQL file and one line here each.

A signal file is a SELECT with the columns `snapshot` (position of the as_of), `customer_id`, `key` and one column per
signal, named as the signal. It reads these relations, which hold nothing that was not known at the snapshot:

    history            events: snapshot, age_days (> 0), local_weekday (1 Monday … 7), customer_id,
                       event_type, item_id, category, product_type, department, brand, quantity, value, discount,
                       basket_id, promoted, campaign_type
    category_history   one row per (customer, event_type, category, basket, instant): snapshot, age_days, customer_id,
                       event_type, category, basket_id, quantity, value, discount, promoted, and gap_days since the
                       customer's previous one, NULL for the first
    attribute_history  snapshot, customer_id, attribute, value
    spine              snapshot, customer_id, tenure_days (age of the first event)

NULL and 0 mean "no such feature". docs/signals.md adds one by example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from propensity import columns
from propensity.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SIGNALS: Traversable = resources.files("propensity.features").joinpath("signals")


@dataclass(frozen=True)
class SignalFile:
    """A signal file and what its keys are.

    Attributes:
        name: `signals/<name>.sql`.
        family: Feature view that holds its features, one of `columns.FAMILIES`.
        key_kind: What a key is: category, product_type, department …
        category_aligned: The keys are label categories, so the net's category-aligned part reads these signals.
    """

    name: str
    family: str
    key_kind: str
    category_aligned: bool = False

    @property
    def sql(self) -> str:
        """Text of the file.

        Raises:
            SettingsError: There is no such file.
        """
        file = SIGNALS.joinpath(f"{self.name}.sql")
        if not file.is_file():
            known = sorted(Path(found.name).stem for found in SIGNALS.iterdir())
            raise SettingsError(
                f"SIGNAL_FILES names {self.name!r}, but there is no {file}.{did_you_mean(self.name, known)}"
            )
        return file.read_text(encoding="utf-8")


SIGNAL_FILES: tuple[SignalFile, ...] = (
    SignalFile("purchases_by_category", "purchases", "category", category_aligned=True),
    SignalFile("views_by_category", "purchases", "category", category_aligned=True),
    SignalFile("product_types", "products", "product_type"),
    SignalFile("departments", "products", "department"),
    SignalFile("brands", "products", "brand"),
    SignalFile("promoted_purchases", "promotions", "category", category_aligned=True),
    SignalFile("coupon_redemptions", "promotions", "campaign_type"),
    SignalFile("campaigns_received", "promotions", "campaign_type"),
    SignalFile("rhythm", "profile", "customer"),
    SignalFile("attributes", "profile", "attribute"),
)


def check_signal_files(files: Sequence[SignalFile]) -> None:
    """Raise unless every file is there, named once and of a known family.

    Raises:
        SettingsError: See above; the message names the line.
    """
    names = [file.name for file in files]
    for file in files:
        if file.family not in columns.FAMILIES:
            raise SettingsError(
                f"Signal file {file.name!r} has the unknown family {file.family!r}."
                f"{did_you_mean(file.family, columns.FAMILIES)} Known: {', '.join(columns.FAMILIES)}."
            )
        if names.count(file.name) > 1:
            raise SettingsError(f"SIGNAL_FILES names {file.name!r} twice. Leave one line out.")
        _ = file.sql
