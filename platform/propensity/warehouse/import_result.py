"""What an import did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propensity.warehouse.runs import RunRecord


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    Attributes:
        run: The import's run, or the one that had brought the same rows before.
        quarantined: Rows set aside, by reason.
        already_imported: The same rows were there before; nothing has changed.
    """

    run: RunRecord
    quarantined: dict[str, int]
    already_imported: bool
