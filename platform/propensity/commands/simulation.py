"""`propensity simulate …`: a population whose true propensities are known."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer

from propensity.commands.options import AsOfOption, HomeOption, RegionOption, platform_of
from propensity.console import stage
from propensity.errors import SettingsError

simulation = typer.Typer(invoke_without_command=True)


@simulation.callback()
def simulate(
    context: typer.Context,
    customers: Annotated[int | None, typer.Option("--customers", help="Customers [1000].")] = None,
    categories: Annotated[int | None, typer.Option("--categories", help="Categories [100].")] = None,
    features: Annotated[int | None, typer.Option("--features", help="Distinct product types [1000].")] = None,
    days: Annotated[int | None, typer.Option("--days", help="Simulated days [540].")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything random [7].")] = None,
    start: Annotated[str | None, typer.Option("--start", help="First local day [2023-01-01].")] = None,
    purchases_per_day: Annotated[
        float | None, typer.Option("--purchases-per-day", help="Mean purchases of a customer on a day [1].")
    ] = None,
    activity_spread: Annotated[
        float | None, typer.Option("--activity-spread", help="How much customers' activity differs, log sd [0.5].")
    ] = None,
    zipf: Annotated[
        float | None, typer.Option("--zipf", help="Exponent of the popularity of categories, types and items [0.9].")
    ] = None,
    taste_rank: Annotated[int | None, typer.Option("--taste-rank", help="Latent factors of taste [4].")] = None,
    taste_strength: Annotated[
        float | None, typer.Option("--taste-strength", help="How much latent factors move a rate, log sd [0.8].")
    ] = None,
    own_taste: Annotated[
        float | None, typer.Option("--own-taste", help="How much a pair's own taste moves it, log sd [0.4].")
    ] = None,
    weekend: Annotated[
        bool | None,
        typer.Option("--weekend/--no-weekend", help="Whether a third prefers weekends and another working days [yes]."),
    ] = None,
    max_cycle: Annotated[
        int | None, typer.Option("--max-cycle", help="Highest regularity of repeat purchases; 1 is none [3].")
    ] = None,
    seasonality: Annotated[
        float | None, typer.Option("--seasonality", help="Highest amplitude of yearly waves, in the log [0.3].")
    ] = None,
    drift: Annotated[
        float | None, typer.Option("--drift", help="Highest amplitude of slow waves, in the log [0.3].")
    ] = None,
    campaigns_per_week: Annotated[
        float | None, typer.Option("--campaigns-per-week", help="Campaigns that send coupons [1].")
    ] = None,
    campaign_share: Annotated[
        float | None, typer.Option("--campaign-share", help="Share of the customers that a campaign reaches [0.2].")
    ] = None,
    campaign_lift: Annotated[
        float | None, typer.Option("--campaign-lift", help="What a coupon adds to a rate, as a multiple of it [2].")
    ] = None,
    campaign_days: Annotated[
        int | None, typer.Option("--campaign-days", help="Days for which a coupon is valid [14].")
    ] = None,
    cold_start: Annotated[
        float | None, typer.Option("--cold-start", help="Share of customers that join late [0.3].")
    ] = None,
    new_categories: Annotated[
        float | None, typer.Option("--new-categories", help="Share of categories that open late [0.05].")
    ] = None,
    views_per_purchase: Annotated[
        float | None, typer.Option("--views-per-purchase", help="Mean views of a category for each purchase in it [0].")
    ] = None,
    browsing_spread: Annotated[
        float | None,
        typer.Option("--browsing-spread", help="How much customers and categories differ in views, log sd [0.5]."),
    ] = None,
    *,
    steady: Annotated[
        bool, typer.Option("--steady", help="None of the extras: tastes alone, which counts can tell.")
    ] = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Simulate a retail population with known truth and import its events. The same again changes nothing."""
    if context.invoked_subcommand is not None:
        return
    try:
        first = None if start is None else date.fromisoformat(start)
    except ValueError as error:
        raise SettingsError(f"--start {start!r} is no date. Give for example 2023-01-01.") from error
    platform = platform_of(home, region)
    with stage("simulate") as (done, observer):
        result = platform.simulate(
            steady=steady,
            customers=customers,
            categories=categories,
            features=features,
            days=days,
            seed=seed,
            start=first,
            purchases_per_day=purchases_per_day,
            activity_spread=activity_spread,
            zipf=zipf,
            taste_rank=taste_rank,
            taste_strength=taste_strength,
            own_taste=own_taste,
            weekend=weekend,
            max_cycle=max_cycle,
            seasonality=seasonality,
            drift=drift,
            campaigns_per_week=campaigns_per_week,
            campaign_share=campaign_share,
            campaign_lift=campaign_lift,
            campaign_days=campaign_days,
            cold_start=cold_start,
            new_categories=new_categories,
            views_per_purchase=views_per_purchase,
            browsing_spread=browsing_spread,
            progress=observer.progress,
        )
        done.append(f"{result.events:,} events" + ("" if result.new_events else ", imported before"))


@simulation.command()
def truth(as_of: AsOfOption, home: HomeOption = None, region: RegionOption = None) -> None:
    """Store the true propensity of every pair for the label window that starts at the as_of."""
    platform = platform_of(home, region)
    with stage("truth") as (done, observer):
        stored = platform.simulated_truth(as_of, observer.progress)
        done.append(f"{stored.customers:,} customers, mean propensity {stored.mean:.4f}, {stored.directory}")
