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
from payments.core.campaign_schema import FREQUENCIES, InvalidCampaign, Offer, Terms
from payments.core.money import Money
from payments.giving import campaigns, experiments
from payments.giving.campaigns import Campaign, ChangedMeanwhile
from payments.giving.checkout_session import Frequency
from payments.giving.experiments import Arm, Comparison, Standing, Verdict
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.donate import embed
from payments.web.donate.form import LABELS
from payments.web.errors import problems
from payments.web.forms import AnyRequest, typed
from payments.web.staff import auth, campaign_form
from payments.web.staff.campaign_form import Typed

PAGE = "/staff/campaigns"
BODY_MOST = 256 * 1024  # five messages in each language, each letter six bytes in a form
MINUS = "\N{MINUS SIGN}"
PER, PER_GIFTS = 1000, 100  # showings and gifts that figures are told for
VERDICTS = {
    Verdict.TOO_EARLY: "Not enough data yet",
    Verdict.OPEN: "No difference that is sure",
    Verdict.MORE: "Brings more",
    Verdict.LESS: "Brings less",
}


# --- for programs ---------------------------------------------------------------------------------


class Told(msgspec.Struct, frozen=True):
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
    responses=problems(400, 404, 503),
)
async def tell(rt: NamedDependency[Runtime], campaign_id: FromPath[str]) -> Response[Told]:
    """For a site that draws its own form. Any page may read it; it may be kept for five minutes."""
    terms = await campaigns.on_show(rt, campaign_id)
    code = terms.currency or rt.settings.currency
    told = Told(
        id=terms.id,
        currency=code,
        default_frequency=terms.default_frequency,
        message=terms.message,
        presets={f: [gift.amount for gift in terms.amounts(code, f)] for f in FREQUENCIES},
    )
    return Response(told, headers={**embed.EVERYWHERE, "cache-control": "public, max-age=300"})


# --- for staff ------------------------------------------------------------------------------------


class CampaignPages(Controller):
    path = PAGE
    include_in_schema = False

    @get()
    async def everything(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """All campaigns, the last changed first."""
        async with rt.sessions() as session:
            found = await campaigns.everything(session)
        today = rt.now().astimezone(rt.settings.zone).date()
        rows = [
            {
                "id": one.id,
                "state": _state(one.read(), today),
                "changed": view_models.minute(rt, one.changed_at),
            }
            for one in found
        ]
        return auth.page(rt, "campaigns.html", colleague, here=PAGE, rows=rows)

    @get("/new")
    async def new(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """An empty form."""
        return _edited(rt, colleague, {"version": "0", "enabled": "yes"})

    @post(request_max_body_size=BODY_MOST)
    async def make(
        self, rt: NamedDependency[Runtime], request: AnyRequest, colleague: NamedDependency[Staff]
    ) -> Response[Any]:
        """Make one, or show how it would look."""
        return await _save(rt, colleague, await typed(request), None)

    @get("/{campaign_id:str}")
    async def one(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        campaign_id: FromPath[str],
    ) -> Response[str]:
        """One campaign: its form, how it looks, and how its variants stand."""
        async with rt.sessions() as session:
            found = await campaigns.find(session, campaign_id)
            stand = await experiments.standing(session, rt, found)
        terms = found.read()
        held = campaign_form.typed_of(terms, version=found.version)
        return _edited(rt, colleague, held, campaign=found, terms=terms, standing=stand)

    @post("/{campaign_id:str}", request_max_body_size=BODY_MOST)
    async def change(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        campaign_id: FromPath[str],
    ) -> Response[Any]:
        """Change one, or show how it would look."""
        async with rt.sessions() as session:
            found = await campaigns.find(session, campaign_id)
        return await _save(rt, colleague, await typed(request), found)


async def _save(
    rt: Runtime, colleague: Staff, sent: dict[str, str], campaign: Campaign | None
) -> Response[Any]:
    if campaign is not None:
        sent = {**sent, "id": campaign.id}
    try:
        terms = campaign_form.read(sent, maximums=rt.settings.maximum_gifts)
        if sent.get("then") == "preview":
            return _edited(rt, colleague, sent, campaign=campaign, terms=terms)
        async with rt.sessions.begin() as session:
            await campaigns.save(
                session,
                terms,
                now=rt.now(),
                staff_id=colleague.id,
                name=colleague.name,
                version=_version(sent),
            )
    except (InvalidCampaign, ChangedMeanwhile) as error:
        return _edited(rt, colleague, sent, campaign=campaign, error=error)
    return Redirect(f"{PAGE}/{terms.id}", status_code=303)


def _version(sent: Typed) -> int:
    text = sent.get("version", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1


def _edited(
    rt: Runtime,
    colleague: Staff,
    held: Typed,
    *,
    campaign: Campaign | None = None,
    terms: Terms | None = None,
    standing: Standing | None = None,
    error: InvalidCampaign | ChangedMeanwhile | None = None,
) -> Response[str]:
    """The form with what it holds; under it how it looks, if it can be shown."""
    wrong = {}
    if isinstance(error, InvalidCampaign):
        says = f"{error.says[:1].upper()}{error.says[1:]}"
        wrong = {campaign_form.field_of(error, held): says.removesuffix(".")}
    running = terms is not None and terms.is_running(rt.now().astimezone(rt.settings.zone).date())
    return auth.page(
        rt,
        "campaign.html",
        colleague,
        here=PAGE,
        status=200 if error is None else error.status,
        action=PAGE if campaign is None else f"{PAGE}/{campaign.id}",
        title="New campaign" if campaign is None else campaign.id,
        made=campaign is not None,
        held={name: held.get(name, "") for name in campaign_form.names()},
        wrong=wrong,
        error="" if error is None else error.detail,
        languages=[_named(one) for one in i18n.LANGUAGES],
        frequencies=[(f, LABELS[Frequency(f)]) for f in FREQUENCIES],
        currencies=auth.options(
            [("", "The newsroom's own"), *((c, c.upper()) for c in money.BOUNDS)],
            held.get("currency", ""),
        ),
        variants=campaign_form.VARIANTS,
        preview=[] if terms is None else _previews(rt, terms),
        link=f"{rt.settings.base_url}/donate?campaign={campaign.id}" if campaign else "",
        running=running,
        snippets=_snippets(rt, campaign),
        standing=None if standing is None else _standing(standing, terms),
    )


def _named(spoken: str) -> dict[str, str]:
    return {"code": spoken, "name": i18n.own_name(spoken), **i18n.marked(spoken)}


def _state(terms: Terms, today: Any) -> str:  # noqa: ANN401 - a date
    if not terms.enabled:
        return "Off"
    if terms.starts_on is not None and today < terms.starts_on:
        return f"From {terms.starts_on:%-d %B %Y}"
    if terms.ends_on is not None:
        over = terms.ends_on < today
        return f"{'Over since' if over else 'Running until'} {terms.ends_on:%-d %B %Y}"
    return "Running"


# --- how it looks ---------------------------------------------------------------------------------


def _previews(rt: Runtime, terms: Terms) -> list[dict[str, Any]]:
    """Each variant in each language."""
    offers = [(variant.name, terms.seen(variant.name)) for variant in terms.variants]
    return [
        {
            "variant": name,
            "looks": [_look(rt, terms, offer, spoken) for spoken in i18n.LANGUAGES],
        }
        for name, offer in offers or [("", terms)]
    ]


def _look(rt: Runtime, terms: Terms, offer: Offer, spoken: str) -> dict[str, Any]:
    said = i18n.translations(spoken)
    code = terms.currency or rt.settings.currency
    text, tongue = offer.said_in(spoken) or (said.gettext(embed.MESSAGE), spoken)
    title = said.gettext(embed.WORDS["title"]).replace("{publication}", rt.settings.publication)
    often = offer.default_frequency or Frequency.MONTHLY
    return {
        **_named(spoken),
        "title": title,
        "message": {"text": text, **i18n.marked(tongue)},
        "frequencies": [
            {
                "label": said.gettext(embed.WORDS[frequency]),
                "first": frequency == often,
                "amounts": [
                    (money.format(gift, spoken), gift == offer.ticked(code, frequency))
                    for gift in offer.amounts(code, frequency)
                ],
            }
            for frequency in FREQUENCIES
        ],
    }


def _snippets(rt: Runtime, campaign: Campaign | None) -> list[dict[str, str]]:
    """What is saved of it, to copy."""
    if campaign is None:
        return []
    return [
        {
            **_named(spoken),
            "html": embed.snippet(
                rt.settings,
                spoken=spoken,
                campaign=campaign.id,
                currency=campaign.read().currency,
                says=campaign.embedded(),
            ),
        }
        for spoken in i18n.LANGUAGES
    ]


# --- how the variants stand -----------------------------------------------------------------------


def _standing(found: Standing, terms: Terms | None) -> dict[str, Any]:
    code = found.currency
    against: list[Comparison | None] = [None, *found.comparisons]
    return {
        "since": f"{found.since:%-d %B %Y}",
        "until": f"{found.until:%-d %B %Y}",
        "days": 30 if terms is None else terms.judged_after,
        "elsewhere": found.elsewhere,
        "currency": "" if code is None else code.upper(),
        "rows": [
            _row(arm, comparison, code, told=arm.may_be_told and found.arms[0].may_be_told)
            for arm, comparison in zip(found.arms, against, strict=True)
        ],
        "in_articles": [
            _row_there(
                arm, comparison, code, told=arm.may_be_told and found.in_articles[0].may_be_told
            )
            for arm, comparison in zip(
                found.in_articles, [None, *found.compared_there], strict=True
            )
        ],
    }


def _row(arm: Arm, against: Comparison | None, code: str | None, *, told: bool) -> dict[str, str]:
    return {
        **_judged(arm, against, code, per=PER, told=told),
        "shown": f"{arm.shown:,}",
        "net": _written(arm.mean * PER, code) if arm.may_be_told else "",
    }


def _row_there(
    arm: Arm, against: Comparison | None, code: str | None, *, told: bool
) -> dict[str, str]:
    return {
        **_judged(arm, against, code, per=PER_GIFTS, told=told),
        "net": _written(arm.total, code) if arm.may_be_told else "",
    }


def _judged(
    arm: Arm, against: Comparison | None, code: str | None, *, per: int, told: bool
) -> dict[str, str]:
    """The verdict on one variant, and the interval it goes by, for so many trials."""
    verdict = "The one the others are compared with"
    if against is not None:
        verdict = VERDICTS[against.verdict]
    between = ""
    if against is not None and against.verdict is not Verdict.TOO_EARLY and told:
        between = f"{_written(against.low * per, code)} to {_written(against.high * per, code)}"
    gifts = f"{arm.gifts:,}" if arm.may_be_told else "fewer than 10"
    return {"name": arm.name, "gifts": gifts, "verdict": verdict, "between": between}


def _written(minor: float, code: str | None) -> str:
    if code is None:
        return ""
    return money.format(Money(round(minor), code)).replace("-", MINUS)
