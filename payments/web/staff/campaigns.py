"""The pages on which a colleague writes a campaign, previews it in each language, and reads how its
variants compare.
"""

from datetime import date
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core import i18n, message_markup, money
from payments.core.campaign_parser import InvalidCampaign
from payments.core.campaign_schema import FREQUENCIES, CampaignConfig, FormOptions, text_for
from payments.core.frequency import Frequency
from payments.giving import campaigns, experiments
from payments.giving.campaigns import Campaign, EditConflict
from payments.giving.experiments import ExperimentResult
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.csrf import require_same_origin
from payments.web.donate import embed, goal_texts, widget_facts
from payments.web.donate.form import FREQUENCY_LABELS
from payments.web.forms import AnyRequest, form_data, parse_count, select_options
from payments.web.staff import campaign_form, layout
from payments.web.staff.campaign_form import FormFields
from payments.web.staff.experiment_view import experiment_view
from payments.web.staff.guards import FINANCE_ROLES, StaffOnly

CAMPAIGNS_URL = "/staff/campaigns"
DEFAULT_EVALUATION_DAYS = 30
MAX_FORM_BYTES = 2 * 1024 * 1024  # the texts of five forms in each language, six bytes a letter


class CampaignPages(Controller):
    """Campaigns: writing one, its preview, and how its variants compare."""

    path = CAMPAIGNS_URL
    include_in_schema = False
    guards = [require_same_origin, StaffOnly(FINANCE_ROLES)]  # noqa: RUF012 - litestar's own

    @get()
    async def list_campaigns(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """All campaigns, the last changed first."""
        async with ctx.sessions() as session:
            every_campaign = await campaigns.list_all(session)
        rows = [
            {
                "id": campaign.id,
                "state": _state_label(campaign.parsed_config(), _today(ctx)),
                "changed": view_models.format_minute(ctx, campaign.changed_at),
            }
            for campaign in every_campaign
        ]
        return layout.render(
            ctx, "staff_campaigns.html", colleague, active_url=CAMPAIGNS_URL, rows=rows
        )

    @get("/new")
    async def new_campaign(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Show an empty form."""
        return _render_form(ctx, colleague, {"version": "0", "enabled": "yes"})

    @post(request_max_body_size=MAX_FORM_BYTES)
    async def create(
        self, ctx: NamedDependency[Context], request: AnyRequest, colleague: NamedDependency[Staff]
    ) -> Response[Any]:
        """Create a campaign, or preview it."""
        return await _save_campaign(ctx, colleague, await form_data(request), None)

    @get("/{campaign_id:str}")
    async def edit(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        campaign_id: FromPath[str],
    ) -> Response[str]:
        """Show a campaign: its form, its preview, and how its variants compare."""
        async with ctx.sessions() as session:
            campaign = await campaigns.get(session, campaign_id)
            result = await experiments.evaluate(session, ctx, campaign)
        config = campaign.parsed_config()
        fields = campaign_form.fields_of_config(config, version=campaign.version)
        return _render_form(ctx, colleague, fields, campaign=campaign, config=config, result=result)

    @post("/{campaign_id:str}", request_max_body_size=MAX_FORM_BYTES)
    async def update(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        campaign_id: FromPath[str],
    ) -> Response[Any]:
        """Change a campaign, or preview the change."""
        async with ctx.sessions() as session:
            campaign = await campaigns.get(session, campaign_id)
        return await _save_campaign(ctx, colleague, await form_data(request), campaign)


async def _save_campaign(
    ctx: Context, colleague: Staff, fields: dict[str, str], campaign: Campaign | None
) -> Response[Any]:
    if campaign is not None:
        fields = {**fields, "id": campaign.id}
    try:
        config = campaign_form.parse_config(fields, maximums=ctx.settings.max_gift)
        if fields.get("then") == "preview":
            return _render_form(ctx, colleague, fields, campaign=campaign, config=config)
        async with ctx.sessions.begin() as session:
            await campaigns.save(
                session,
                config,
                now=ctx.now(),
                staff_id=colleague.id,
                actor_name=colleague.name,
                version=_parse_version(fields),
            )
    except (InvalidCampaign, EditConflict) as error:
        return _render_form(ctx, colleague, fields, campaign=campaign, error=error)
    return Redirect(f"{CAMPAIGNS_URL}/{config.id}", status_code=303)


def _parse_version(fields: FormFields) -> int:
    version = parse_count(fields.get("version", ""))
    return -1 if version is None else version


def _render_form(
    ctx: Context,
    colleague: Staff,
    fields: FormFields,
    *,
    campaign: Campaign | None = None,
    config: CampaignConfig | None = None,
    result: ExperimentResult | None = None,
    error: InvalidCampaign | EditConflict | None = None,
) -> Response[str]:
    """Return the form with its fields, and below it the preview, if the fields make a campaign."""
    field_errors = {}
    if isinstance(error, InvalidCampaign):
        sentence = f"{error.problem[:1].upper()}{error.problem[1:]}"
        field_errors = {campaign_form.field_of_error(error, fields): sentence.removesuffix(".")}
    days = config.evaluate_after_days if config is not None else DEFAULT_EVALUATION_DAYS
    return layout.render(
        ctx,
        "staff_campaign.html",
        colleague,
        active_url=CAMPAIGNS_URL,
        status=200 if error is None else error.status,
        action=CAMPAIGNS_URL if campaign is None else f"{CAMPAIGNS_URL}/{campaign.id}",
        title="New campaign" if campaign is None else campaign.id,
        exists=campaign is not None,
        fields={name: fields.get(name, "") for name in campaign_form.field_names()},
        field_errors=field_errors,
        error="" if error is None else error.detail,
        languages=[_language_view(one) for one in _languages_of(ctx, fields)],
        frequencies=[(f, FREQUENCY_LABELS[Frequency(f)]) for f in FREQUENCIES],
        currencies=select_options(
            [("", "The newsroom's own"), *((c, c.upper()) for c in money.GIFT_LIMITS)],
            fields.get("currency", ""),
        ),
        variants=campaign_form.VARIANT_PREFIXES,
        preview=[] if config is None else _preview_variants(ctx, config),
        link=f"{ctx.settings.base_url}/donate?campaign={campaign.id}" if campaign else "",
        running=config is not None and config.is_running(_today(ctx)),
        snippets=_embed_snippets(ctx, campaign),
        public=campaign and goal_texts.goal_view(campaign.public_goal(ctx), i18n.DEFAULT_LOCALE),
        experiment=None if result is None else experiment_view(result, days=days),
    )


def _languages_of(ctx: Context, fields: FormFields) -> list[str]:
    """Return the languages that are offered, and others that the campaign has texts in."""
    return [
        *ctx.settings.offered_locales,
        *(
            one
            for one in campaign_form.languages_with_texts(fields)
            if one not in ctx.settings.offered_locales
        ),
    ]


def _language_view(locale: str) -> dict[str, str]:
    return {"code": locale, "name": i18n.native_name(locale), **i18n.html_lang_attrs(locale)}


def _today(ctx: Context) -> date:
    """Return the day of the accounting time zone, by which campaigns start and end."""
    return ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()


def _state_label(config: CampaignConfig, today: date) -> str:
    if not config.enabled:
        return "Off"
    if config.starts_on is not None and today < config.starts_on:
        return f"From {config.starts_on:%-d %B %Y}"
    if config.ends_on is not None:
        is_over = config.ends_on < today
        return f"{'Over since' if is_over else 'Running until'} {config.ends_on:%-d %B %Y}"
    return "Running"


# --- preview and snippets -------------------------------------------------------------------------


def _preview_variants(ctx: Context, config: CampaignConfig) -> list[dict[str, Any]]:
    """Return the preview of each variant, or of the campaign without any, in each language."""
    options_by_variant = [
        (variant.name, config.options_for_variant(variant.name)) for variant in config.variants
    ]
    return [
        {
            "variant": name,
            "looks": [
                _preview_locale(ctx, config, options, locale)
                for locale in ctx.settings.offered_locales
            ],
        }
        for name, options in options_by_variant or [("", config)]
    ]


def _preview_locale(
    ctx: Context, config: CampaignConfig, options: FormOptions, locale: str
) -> dict[str, Any]:
    catalogue = i18n.translations(locale)
    currency = config.currency or ctx.settings.default_currency
    text, message_locale = options.message_for(locale) or widget_facts.default_message(locale)
    headline, button = text_for(options.headline, locale), text_for(options.button, locale)
    title = catalogue.gettext(widget_facts.WIDGET_TEXTS["title"]).replace(
        "{publication}", ctx.settings.publication_name
    )
    default_frequency = options.default_frequency or Frequency.MONTHLY
    return {
        **_language_view(locale),
        "title": headline[0] if headline else title,
        "button": button[0] if button else catalogue.gettext(widget_facts.WIDGET_TEXTS["go"]),
        "message": {
            "text": message_markup.to_html(message_markup.parse(text)),
            **i18n.html_lang_attrs(message_locale),
        },
        "frequencies": [
            {
                "label": catalogue.gettext(widget_facts.WIDGET_TEXTS[frequency]),
                "is_default": frequency == default_frequency,
                "amounts": [
                    (
                        money.format(amount, locale),
                        amount == options.preselected_amount(currency, frequency),
                    )
                    for amount in options.suggested_amounts(currency, frequency)
                ],
            }
            for frequency in FREQUENCIES
        ],
    }


def _embed_snippets(ctx: Context, campaign: Campaign | None) -> list[dict[str, str]]:
    """Return the HTML of the saved campaign for articles, in each language."""
    if campaign is None:
        return []
    return [
        {
            **_language_view(locale),
            "html": embed.embed_snippet(
                ctx.settings,
                locale=locale,
                campaign=campaign.id,
                currency=campaign.parsed_config().currency,
                embedded=campaign.as_embedded(),
                live=True,
            ),
        }
        for locale in ctx.settings.offered_locales
    ]
