"""Contributions for programs: JSON in and out, with an Idempotency-Key where money can move."""

from typing import Annotated

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody

from payments.core.errors import IdempotencyKeyMissing
from payments.core.frequency import Frequency
from payments.core.identifiers import SLUG_REGEX
from payments.giving import (
    article_counts,
    campaign_attribution,
    contribution_start,
    contributions,
)
from payments.giving.checkout_session import ContributionRequest
from payments.giving.contributions import Contribution
from payments.infra.context import Context
from payments.web import risk_check
from payments.web.errors import problem_responses
from payments.web.forms import AnyRequest, strict_json

MAX_BODY_BYTES = 16 * 1024
# In Python `$` also matches before a final line break; other readers of the schema differ.
PATTERN_END = r"$(?!\n)"
# Of an Idempotency-Key: what any UUID has, and neither a count nor a word.
MIN_KEY_LENGTH, MIN_KEY_LETTERS = 22, 8
Slug = Annotated[str, msgspec.Meta(pattern=rf"^{SLUG_REGEX}{PATTERN_END}", max_length=64)]
Proof = Annotated[str, msgspec.Meta(max_length=4096)]
Locale = Annotated[str, msgspec.Meta(pattern=rf"^[a-z]{{2,3}}(-[A-Za-z0-9]{{2,4}})?{PATTERN_END}")]


class ContributionCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reader gives. `amount` is in minor units: 500 with `usd` is $5.00, 500 with `jpy`
    ¥500.

    `campaign` is one of the newsroom's; another is refused. `article` names the article the reader
    came from. It is counted in tens and stored with no contribution: what a donor read is theirs
    alone. `proof` is needed after an answer of 428: see `getChallenge`. `declaration` is needed
    after an answer of 409 that names it: show the notice of `/donate`, and send true once the
    reader has ticked it.
    """

    amount: int
    currency: str
    frequency: Frequency
    campaign: Slug | None = None
    article: Slug | None = None
    locale: Locale | None = None
    proof: Proof | None = None
    declaration: bool | None = None


FIELD_HELP = {
    "amount": "a whole number of minor units, such as 500 for $5.00",
    "currency": "three letters, such as usd",
    "frequency": "once, monthly or annual",
    "campaign": "at most 64 lower-case letters, digits and hyphens",
    "article": "at most 64 lower-case letters, digits and hyphens",
    "locale": "a language, such as en or pt-BR",
    "proof": "the solution of a challenge, in base64",
    "declaration": "true, once the reader has confirmed what the notice asks",
}


class ContributionOut(msgspec.Struct, frozen=True):
    """A contribution: nothing in it is about a person."""

    id: str
    status: str
    checkout_url: str | None


def _idempotency_key(request: AnyRequest) -> str:
    """Return the key of a request, with or without the quotes of a structured field.

    Raises IdempotencyKeyMissing, also for a malformed key, for several, and for one that somebody
    could guess: two programs might use it, and its hash would not hide the network in it.
    """
    values = request.headers.getall("idempotency-key", [])
    key = values[0].strip() if len(values) == 1 else ""
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    is_text = MIN_KEY_LENGTH <= len(key) <= 255 and key.isascii() and key.isprintable()
    if not is_text or len(set(key)) < MIN_KEY_LETTERS:
        raise IdempotencyKeyMissing(
            f"Send one Idempotency-Key header of {MIN_KEY_LENGTH} to 255 visible ASCII characters, "
            "random and new for each gift, such as a UUID. Nothing was charged.",
            field="Idempotency-Key",
        )
    return key


class ContributionsApi(Controller):
    """Starts contributions, and says what became of them."""

    path = "/api/contributions"
    tags = ("Contributions",)

    @post(
        operation_id="startContribution",
        summary="Start a contribution",
        before_request=strict_json(
            ContributionCreate,
            FIELD_HELP,
            no_effect_message="Nothing was charged.",
            precondition=_idempotency_key,
        ),
        request_max_body_size=MAX_BODY_BYTES,
        status_code=201,
        responses=problem_responses(400, 409, 413, 415, 422, 428, 429, 503),
    )
    async def start(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        data: JSONBody[ContributionCreate],
        idempotency_key: Annotated[  # noqa: ARG002 - declared for the description, read by _idempotency_key
            str,
            HeaderParameter(
                name="Idempotency-Key",
                pattern="^[ -~]+$",
                min_length=MIN_KEY_LENGTH,
                max_length=257,  # with the quotes of a structured field
                description=(
                    "A random text, new for each gift, such as a UUID. For a day the same key and "
                    "body from the same program give the same contribution. A program is known by "
                    "the network it calls from (a /24 of IPv4, a /56 of IPv6) and its `Origin`: "
                    "from elsewhere they start another contribution, with a page of its own to pay "
                    "on."
                ),
            ),
        ],
    ) -> ContributionOut:
        """Start a contribution and open a Checkout Session: send the reader to `checkout_url`."""
        key = _idempotency_key(request)
        amount = ctx.settings.validate_gift(data.amount, data.currency)
        contribution_request = ContributionRequest(
            money=amount, frequency=data.frequency, campaign=data.campaign, locale=data.locale
        )
        await campaign_attribution.require_known(ctx, data.campaign)
        request_context = await risk_check.request_context_of_api(
            ctx, request, key, data.proof, declaration_accepted=data.declaration is True
        )
        contribution = await contribution_start.start(
            ctx,
            contribution_request,
            idempotency_key=f"api:{request.headers.get('origin', '')}\0{key}",
            request_context=request_context,
            article=data.article,
        )
        await article_counts.record_start(ctx, request.app.state.articles, data.article)
        return _contribution_out(contribution)

    @get(
        "/{contribution_id:str}",
        operation_id="getContribution",
        summary="What became of it",
        responses=problem_responses(400, 404, 503),
    )
    async def get_status(
        self, ctx: NamedDependency[Context], contribution_id: FromPath[str]
    ) -> ContributionOut:
        """Return the state of a contribution, from our own records."""
        async with ctx.sessions() as session:
            return _contribution_out(await contributions.get(session, contribution_id))


def _contribution_out(row: Contribution) -> ContributionOut:
    return ContributionOut(id=row.id, status=row.status.value, checkout_url=row.checkout_url)
