"""One page per model: everything that is known of it, in one file that needs no network."""

from __future__ import annotations

from propensity.reporting.service import ModelPage, write_page

__all__ = ["ModelPage", "write_page"]
