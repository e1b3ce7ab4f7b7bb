"""A group of commands that lists when no sub-command is named: `propensity runs` is `propensity runs list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import typer

from propensity.commands.options import HomeOption, JsonOption, RegionOption

if TYPE_CHECKING:
    from collections.abc import Callable

    Listing = TypeVar("Listing", bound=Callable[..., None])


def listed_when_alone(group: typer.Typer) -> Callable[[Listing], Listing]:
    """Make the command decorated also what the group does without a sub-command.

    Args:
        group: Given nothing but `--json`, `--home` and `--region` it lists; more takes `list` itself.
    """

    def decorate(listing: Listing) -> Listing:
        @group.callback(invoke_without_command=True)
        def list_or_go_on(
            context: typer.Context, *, as_json: JsonOption = False, home: HomeOption = None, region: RegionOption = None
        ) -> None:
            if context.invoked_subcommand is None:
                listing(as_json=as_json, home=home, region=region)

        return listing

    return decorate
