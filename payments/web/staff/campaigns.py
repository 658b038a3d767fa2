"""Campaigns: the pages on which a colleague writes one, sees it in each language, and reads which
variant brought more; and what programs may know of one.
"""

from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core import i18n, money
from payments.core.campaign_schema import FREQUENCIES, CampaignConfig, FormOptions, InvalidCampaign
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import campaigns, experiments
from payments.giving.campaigns import Campaign, EditConflict
from payments.giving.experiments import Comparison, ExperimentResult, VariantResult, Verdict
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.donate import embed
from payments.web.donate.form import FREQUENCY_LABELS
from payments.web.errors import problem_responses
from payments.web.forms import AnyRequest, form_data
from payments.web.staff import auth, campaign_form
from payments.web.staff.campaign_form import FormFields

CAMPAIGNS_URL = "/staff/campaigns"
MAX_FORM_BYTES = 256 * 1024  # five messages in each language, each letter six bytes in a form
MINUS = "\N{MINUS SIGN}"
PER_IMPRESSIONS, PER_CONTRIBUTIONS = 1000, 100  # showings and gifts that figures are told for
VERDICT_LABELS = {
    Verdict.INSUFFICIENT_DATA: "Not enough data yet",
    Verdict.INCONCLUSIVE: "No difference that is sure",
    Verdict.MORE: "Brings more",
    Verdict.LESS: "Brings less",
}


# --- for programs ---------------------------------------------------------------------------------


class CampaignOut(msgspec.Struct, frozen=True):
    """A campaign that is running: what its form suggests before a variant is drawn. Amounts are in
    minor units.
    """

    id: str
    currency: str
    default_frequency: str | None
    message: dict[str, str]
    presets: dict[str, list[int]]


@get(
    "/api/campaigns/{campaign_id:str}",
    operation_id="getCampaign",
    summary="What a campaign says and suggests",
    tags=["Contributions"],
    responses=problem_responses(400, 404, 503),
)
async def get_campaign(
    ctx: NamedDependency[Context], campaign_id: FromPath[str]
) -> Response[CampaignOut]:
    """For a site that draws its own form. Any page may read it; it may be kept for five minutes."""
    terms = await campaigns.running_config(ctx, campaign_id)
    code = terms.currency or ctx.settings.default_currency
    told = CampaignOut(
        id=terms.id,
        currency=code,
        default_frequency=terms.default_frequency,
        message=terms.message,
        presets={
            f: [gift.amount for gift in terms.suggested_amounts(code, f)] for f in FREQUENCIES
        },
    )
    return Response(
        told, headers={**embed.CROSS_ORIGIN_HEADERS, "cache-control": "public, max-age=300"}
    )


# --- for staff ------------------------------------------------------------------------------------


class CampaignPages(Controller):
    path = CAMPAIGNS_URL
    include_in_schema = False

    @get()
    async def list_campaigns(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """All campaigns, the last changed first."""
        async with ctx.sessions() as session:
            found = await campaigns.list_all(session)
        today = ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
        rows = [
            {
                "id": one.id,
                "state": _state_label(one.parsed_config(), today),
                "changed": view_models.format_minute(ctx, one.changed_at),
            }
            for one in found
        ]
        return auth.render(
            ctx, "staff_campaigns.html", colleague, active_url=CAMPAIGNS_URL, rows=rows
        )

    @get("/new")
    async def new_campaign(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """An empty form."""
        return _render_form(ctx, colleague, {"version": "0", "enabled": "yes"})

    @post(request_max_body_size=MAX_FORM_BYTES)
    async def create(
        self, ctx: NamedDependency[Context], request: AnyRequest, colleague: NamedDependency[Staff]
    ) -> Response[Any]:
        """Make one, or show how it would look."""
        return await _save_campaign(ctx, colleague, await form_data(request), None)

    @get("/{campaign_id:str}")
    async def edit(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        campaign_id: FromPath[str],
    ) -> Response[str]:
        """One campaign: its form, how it looks, and how its variants stand."""
        async with ctx.sessions() as session:
            found = await campaigns.get(session, campaign_id)
            stand = await experiments.evaluate(session, ctx, found)
        terms = found.parsed_config()
        held = campaign_form.fields_of_config(terms, version=found.version)
        return _render_form(ctx, colleague, held, campaign=found, config=terms, result=stand)

    @post("/{campaign_id:str}", request_max_body_size=MAX_FORM_BYTES)
    async def update(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        campaign_id: FromPath[str],
    ) -> Response[Any]:
        """Change one, or show how it would look."""
        async with ctx.sessions() as session:
            found = await campaigns.get(session, campaign_id)
        return await _save_campaign(ctx, colleague, await form_data(request), found)


async def _save_campaign(
    ctx: Context, colleague: Staff, sent: dict[str, str], campaign: Campaign | None
) -> Response[Any]:
    if campaign is not None:
        sent = {**sent, "id": campaign.id}
    try:
        terms = campaign_form.parse_config(sent, maximums=ctx.settings.max_gift)
        if sent.get("then") == "preview":
            return _render_form(ctx, colleague, sent, campaign=campaign, config=terms)
        async with ctx.sessions.begin() as session:
            await campaigns.save(
                session,
                terms,
                now=ctx.now(),
                staff_id=colleague.id,
                actor_name=colleague.name,
                version=_parse_version(sent),
            )
    except (InvalidCampaign, EditConflict) as error:
        return _render_form(ctx, colleague, sent, campaign=campaign, error=error)
    return Redirect(f"{CAMPAIGNS_URL}/{terms.id}", status_code=303)


def _parse_version(sent: FormFields) -> int:
    text = sent.get("version", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1


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
    """The form with what it holds; under it how it looks, if it can be shown."""
    wrong = {}
    if isinstance(error, InvalidCampaign):
        says = f"{error.problem[:1].upper()}{error.problem[1:]}"
        wrong = {campaign_form.field_of_error(error, fields): says.removesuffix(".")}
    running = config is not None and config.is_running(
        ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
    )
    return auth.render(
        ctx,
        "staff_campaign.html",
        colleague,
        active_url=CAMPAIGNS_URL,
        status=200 if error is None else error.status,
        action=CAMPAIGNS_URL if campaign is None else f"{CAMPAIGNS_URL}/{campaign.id}",
        title="New campaign" if campaign is None else campaign.id,
        made=campaign is not None,
        held={name: fields.get(name, "") for name in campaign_form.field_names()},
        wrong=wrong,
        error="" if error is None else error.detail,
        languages=[_language_view(one) for one in i18n.SUPPORTED_LOCALES],
        frequencies=[(f, FREQUENCY_LABELS[Frequency(f)]) for f in FREQUENCIES],
        currencies=auth.select_options(
            [("", "The newsroom's own"), *((c, c.upper()) for c in money.GIFT_LIMITS)],
            fields.get("currency", ""),
        ),
        variants=campaign_form.VARIANT_PREFIXES,
        preview=[] if config is None else _preview_variants(ctx, config),
        link=f"{ctx.settings.base_url}/donate?campaign={campaign.id}" if campaign else "",
        running=running,
        snippets=_embed_snippets(ctx, campaign),
        standing=None if result is None else _experiment_view(result, config),
    )


def _language_view(locale: str) -> dict[str, str]:
    return {"code": locale, "name": i18n.native_name(locale), **i18n.html_lang_attrs(locale)}


def _state_label(config: CampaignConfig, today: Any) -> str:  # noqa: ANN401 - a date
    if not config.enabled:
        return "Off"
    if config.starts_on is not None and today < config.starts_on:
        return f"From {config.starts_on:%-d %B %Y}"
    if config.ends_on is not None:
        over = config.ends_on < today
        return f"{'Over since' if over else 'Running until'} {config.ends_on:%-d %B %Y}"
    return "Running"


# --- how it looks ---------------------------------------------------------------------------------


def _preview_variants(ctx: Context, config: CampaignConfig) -> list[dict[str, Any]]:
    """Each variant in each language."""
    offers = [
        (variant.name, config.options_for_variant(variant.name)) for variant in config.variants
    ]
    return [
        {
            "variant": name,
            "looks": [
                _preview_locale(ctx, config, offer, spoken) for spoken in i18n.SUPPORTED_LOCALES
            ],
        }
        for name, offer in offers or [("", config)]
    ]


def _preview_locale(
    ctx: Context, config: CampaignConfig, options: FormOptions, locale: str
) -> dict[str, Any]:
    said = i18n.translations(locale)
    code = config.currency or ctx.settings.default_currency
    text, tongue = options.message_for(locale) or (said.gettext(embed.DEFAULT_MESSAGE), locale)
    title = said.gettext(embed.WIDGET_TEXTS["title"]).replace(
        "{publication}", ctx.settings.publication_name
    )
    often = options.default_frequency or Frequency.MONTHLY
    return {
        **_language_view(locale),
        "title": title,
        "message": {"text": text, **i18n.html_lang_attrs(tongue)},
        "frequencies": [
            {
                "label": said.gettext(embed.WIDGET_TEXTS[frequency]),
                "first": frequency == often,
                "amounts": [
                    (
                        money.format(gift, locale),
                        gift == options.preselected_amount(code, frequency),
                    )
                    for gift in options.suggested_amounts(code, frequency)
                ],
            }
            for frequency in FREQUENCIES
        ],
    }


def _embed_snippets(ctx: Context, campaign: Campaign | None) -> list[dict[str, str]]:
    """What is saved of it, to copy."""
    if campaign is None:
        return []
    return [
        {
            **_language_view(spoken),
            "html": embed.embed_snippet(
                ctx.settings,
                locale=spoken,
                campaign=campaign.id,
                currency=campaign.parsed_config().currency,
                embedded=campaign.as_embedded(),
            ),
        }
        for spoken in i18n.SUPPORTED_LOCALES
    ]


# --- how the variants stand -----------------------------------------------------------------------


def _experiment_view(result: ExperimentResult, config: CampaignConfig | None) -> dict[str, Any]:
    code = result.currency
    against: list[Comparison | None] = [None, *result.comparisons]
    return {
        "since": f"{result.since:%-d %B %Y}",
        "until": f"{result.until:%-d %B %Y}",
        "days": 30 if config is None else config.evaluate_after_days,
        "elsewhere": result.other_currency_contributions,
        "currency": "" if code is None else code.upper(),
        "rows": [
            _form_result_row(
                arm,
                comparison,
                code,
                disclosed=arm.is_reportable and result.variants[0].is_reportable,
            )
            for arm, comparison in zip(result.variants, against, strict=True)
        ],
        "in_articles": [
            _article_result_row(
                arm,
                comparison,
                code,
                disclosed=arm.is_reportable and result.widget_variants[0].is_reportable,
            )
            for arm, comparison in zip(
                result.widget_variants, [None, *result.widget_comparisons], strict=True
            )
        ],
    }


def _form_result_row(
    variant: VariantResult, against: Comparison | None, code: str | None, *, disclosed: bool
) -> dict[str, str]:
    return {
        **_comparison_view(variant, against, code, per=PER_IMPRESSIONS, disclosed=disclosed),
        "shown": f"{variant.impressions:,}",
        "net": _format_amount(variant.mean * PER_IMPRESSIONS, code)
        if variant.is_reportable
        else "",
    }


def _article_result_row(
    variant: VariantResult, against: Comparison | None, code: str | None, *, disclosed: bool
) -> dict[str, str]:
    return {
        **_comparison_view(variant, against, code, per=PER_CONTRIBUTIONS, disclosed=disclosed),
        "net": _format_amount(variant.net_total, code) if variant.is_reportable else "",
    }


def _comparison_view(
    variant: VariantResult,
    against: Comparison | None,
    code: str | None,
    *,
    per: int,
    disclosed: bool,
) -> dict[str, str]:
    """The verdict on one variant, and the interval it goes by, for so many trials."""
    verdict = "The one the others are compared with"
    if against is not None:
        verdict = VERDICT_LABELS[against.verdict]
    between = ""
    if against is not None and against.verdict is not Verdict.INSUFFICIENT_DATA and disclosed:
        between = f"{_format_amount(against.low * per, code)} to {_format_amount(against.high * per, code)}"
    gifts = f"{variant.contributions:,}" if variant.is_reportable else "fewer than 10"
    return {"name": variant.name, "gifts": gifts, "verdict": verdict, "between": between}


def _format_amount(minor: float, code: str | None) -> str:
    if code is None:
        return ""
    return money.format(Money(round(minor), code)).replace("-", MINUS)
