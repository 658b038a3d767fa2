"""Giving, for programs: JSON in and out, and an Idempotency-Key on what can move money."""

from typing import Annotated

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody

from payments.core import money
from payments.core.errors import IdempotencyKeyMissing
from payments.giving import article_counts, campaigns, contributions
from payments.giving.checkout_session import Ask, Frequency
from payments.giving.contributions import Contribution
from payments.infra.context import Runtime
from payments.web.donate import risk_check
from payments.web.errors import problems
from payments.web.forms import AnyRequest, exactly

MAX_BODY = 16 * 1024
# To Python a `$` may stand before a last line break, to other readers of a description it may not.
END = r"$(?!\n)"
Slug = Annotated[str, msgspec.Meta(pattern=rf"^[a-z0-9][a-z0-9-]*{END}", max_length=64)]
Locale = Annotated[str, msgspec.Meta(pattern=rf"^[a-z]{{2,3}}(-[A-Za-z0-9]{{2,4}})?{END}")]


class Gift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reader gives. `amount` is in minor units: 500 with `usd` is $5.00, 500 with `jpy`
    ¥500.

    `campaign` is one of the newsroom's: another is refused. `article` names the story the reader
    came from. It is counted with nine others and kept with no gift: which story a donor read is
    theirs alone. `proof` is needed after an answer of 428: see `getChallenge`.
    `declaration` is needed after an answer of 409 that names it: show the notice of `/donate` and
    send true once the reader has ticked it.
    """

    amount: int
    currency: str
    frequency: Frequency
    campaign: Slug | None = None
    article: Slug | None = None
    locale: Locale | None = None
    proof: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    declaration: bool | None = None


WANTED = {
    "amount": "a whole number of minor units, such as 500 for $5.00",
    "currency": "three letters, such as usd",
    "frequency": "once, monthly or annual",
    "campaign": "at most 64 lower-case letters, digits and hyphens",
    "article": "at most 64 lower-case letters, digits and hyphens",
    "locale": "a language, such as en or pt-BR",
    "proof": "the solution of a challenge, in base64",
    "declaration": "true, once the reader has confirmed what the notice asks",
}


class Given(msgspec.Struct, frozen=True):
    """A contribution: nothing in it is about a person."""

    id: str
    status: str
    checkout_url: str | None


def _key(request: AnyRequest) -> str:
    """The one key of the request, with or without the quotes of a structured field."""
    sent = request.headers.getall("idempotency-key", [])
    key = sent[0].strip() if len(sent) == 1 else ""
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise IdempotencyKeyMissing(
            "Send one Idempotency-Key header of 1 to 255 visible ASCII characters, new for each "
            "gift. Nothing was charged.",
            field="Idempotency-Key",
        )
    return key


class ContributionsApi(Controller):
    path = "/api/contributions"
    tags = ("Contributions",)

    @post(
        operation_id="startContribution",
        summary="Start a contribution",
        before_request=exactly(Gift, WANTED, nothing="Nothing was charged.", first=_key),
        request_max_body_size=MAX_BODY,
        status_code=201,
        responses=problems(400, 409, 413, 415, 422, 428, 429, 503),
    )
    async def start(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        data: JSONBody[Gift],
        idempotency_key: Annotated[  # noqa: ARG002 - declared for the description, read by _key
            str,
            HeaderParameter(
                name="Idempotency-Key",
                pattern="^[ -~]+$",
                max_length=257,  # with the quotes of a structured field
                description="The same key and body give the same contribution for a day.",
            ),
        ],
    ) -> Given:
        """Keeps the decision and opens a Checkout Session. Send the reader to `checkout_url`."""
        key = _key(request)
        highest = money.maximum(data.currency, rt.settings.maximum_gifts)
        amount = money.check_gift(data.amount, data.currency, maximum=highest.amount)
        ask = Ask(
            money=amount, frequency=data.frequency, campaign=data.campaign, locale=data.locale
        )
        await campaigns.require(rt, data.campaign)
        visit = await risk_check.of_program(
            rt, request, key, data.proof, declared=data.declaration is True
        )
        gift = await contributions.start(rt, ask, key=f"api:{key}", visit=visit)
        await article_counts.count(rt, request.app.state.articles, data.article)
        return _given(gift)

    @get(
        "/{contribution_id:str}",
        operation_id="getContribution",
        summary="What became of it",
        responses=problems(400, 404, 503),
    )
    async def status(self, rt: NamedDependency[Runtime], contribution_id: FromPath[str]) -> Given:
        """The state of a contribution, from our own records."""
        async with rt.sessions() as session:
            return _given(await contributions.find(session, contribution_id))


def _given(row: Contribution) -> Given:
    return Given(id=row.id, status=row.status.value, checkout_url=row.checkout_url)
