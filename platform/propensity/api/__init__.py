"""What users import: one object for one region of one home."""

from __future__ import annotations

from propensity.api.platform import Platform
from propensity.api.region import AsOf

__all__ = ["AsOf", "Platform"]
