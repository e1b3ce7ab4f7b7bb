"""Bringing the catalogue to the schema this version needs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

from propensity.errors import WarehouseError
from propensity.settings import project_root

if TYPE_CHECKING:
    from propensity.settings import Settings


def migrate(settings: Settings, revision: str = "head") -> None:
    """Upgrade the catalogue to `revision`, creating it where there is none; a no-op when it is there already.

    Raises:
        WarehouseError: The project's `migrations/` directory isn't found.
        WarehouseLockedError: Another process holds the catalogue.
    """
    scripts = project_root() / "migrations"
    if not scripts.is_dir():
        raise WarehouseError(f"{scripts} is missing. Set PROPENSITY_PROJECT to the checkout that holds it.")
    # Alembic tells every step at info level: noise between a command's own lines.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, revision)
