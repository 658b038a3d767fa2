"""The HTML that a web developer puts into articles."""

import click

from payments.cli.campaigns import find_campaign
from payments.cli.common import load_settings


@click.command()
@click.option("--lang", default="", help="One of PAYMENTS_LOCALES; without it, the first of them.")
@click.option("--currency", help="Instead of PAYMENTS_DEFAULT_CURRENCY.")
@click.option("--campaign", default="", help="Its id, as in the links of the campaign.")
@click.option("--article", default="", help="The id of the story.")
@click.option("--live", is_flag=True, help="Say what the campaign says now; no hash of the script.")
@click.option("--plain", is_flag=True, help="Links only, for newsletters and AMP.")
def embed(
    lang: str, currency: str | None, campaign: str, article: str, live: bool, plain: bool
) -> None:
    """Print the HTML that asks for support on your pages, with the hash of its script."""
    from payments.core import money
    from payments.core.identifiers import is_slug
    from payments.web.donate import embed as snippets

    settings = load_settings()
    lang = lang or settings.offered_locales[0]
    if lang not in settings.offered_locales:
        raise click.UsageError(f"--lang is one of {', '.join(settings.offered_locales)}.")
    if currency is not None and currency not in money.GIFT_LIMITS:
        raise click.UsageError(f"--currency is one of {', '.join(money.GIFT_LIMITS)}.")
    for name, value in (("campaign", campaign), ("article", article)):
        if value and not is_slug(value):
            raise click.UsageError(f"--{name} is lower-case letters, digits and hyphens.")
    found = find_campaign(campaign) if campaign else None
    click.echo(
        snippets.embed_snippet(
            settings,
            locale=lang,
            currency=currency or (found.parsed_config().currency if found else None),
            campaign=campaign,
            article=article,
            live=live,
            plain=plain,
            embedded=found.as_embedded() if found else snippets.NO_CAMPAIGN,
        )
    )
