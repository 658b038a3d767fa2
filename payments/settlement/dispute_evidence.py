"""Evidence: what we answer a donor's bank with when it disputes a payment, staged and then sent.

The texts live at Stripe alone: nothing of them is stored or logged here. Offered are the fields
that say what was paid for and on which terms; the ones for a name, an address, an e-mail or an IP
address, a signature and for files are not, so that nobody is named by default. What looks like an
address or a card number is refused. Evidence goes to the donor's bank: of a payment in quarantine
none is sent from here, and under a donor safety policy whoever sends it confirms that it names
nobody.

A form has the version of what it was made from: what changed since, in another tab or at Stripe, is
refused. Evidence is sent once, and cannot be taken back. Every answer is fetched and compared.
"""

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import stripe
from stripe.params import DisputeUpdateParams

from payments.core.calendar import from_unix
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.infra import stripe_client
from payments.infra.audit_log import CARD_NUMBER_PATTERN
from payments.infra.context import Context
from payments.risk.quarantine import Quarantine
from payments.settlement import disputes
from payments.settlement.disputes import DisputeStatus

MAX_TEXT_LENGTH = 20_000  # characters of one field
ANSWERABLE_STATUSES = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WARNING_NEEDS_RESPONSE)
_DAY = re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}\b")
_WORD_OF_AN_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{3,45}")


class EvidenceField(StrEnum):
    """The fields that are offered, by Stripe's names."""

    PRODUCT_DESCRIPTION = "product_description"
    SERVICE_DATE = "service_date"
    CANCELLATION_POLICY_DISCLOSURE = "cancellation_policy_disclosure"
    CANCELLATION_REBUTTAL = "cancellation_rebuttal"
    REFUND_POLICY_DISCLOSURE = "refund_policy_disclosure"
    REFUND_REFUSAL_EXPLANATION = "refund_refusal_explanation"
    DUPLICATE_CHARGE_EXPLANATION = "duplicate_charge_explanation"
    UNCATEGORIZED_TEXT = "uncategorized_text"


class EvidenceRefused(PaymentsError):
    """This dispute cannot be answered so, or not any more. Nothing was sent."""

    status = 409
    code = "evidence-refused"
    title = "The change was not made"


@dataclass(frozen=True, slots=True)
class StagedEvidence:
    """A dispute as it is at Stripe now, and what is staged there of the offered fields."""

    dispute: stripe.Dispute
    texts: Mapping[EvidenceField, str]
    has_other_fields: bool  # staged at Stripe, and not shown here

    @property
    def version(self) -> str:
        """Return a hash of the state and the texts, which a form carries."""
        details = self.dispute.evidence_details
        state = [self.dispute.status, details.submission_count, sorted(self.texts.items())]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]

    def is_answerable(self, now_seconds: float) -> bool:
        """Whether evidence can still be sent."""
        due_by = self.dispute.evidence_details.due_by
        return (
            self.dispute.status in ANSWERABLE_STATUSES
            and self.dispute.evidence_details.submission_count == 0
            and due_by is not None
            and due_by > now_seconds
        )


async def load(ctx: Context, dispute_id: str) -> StagedEvidence:
    """Fetch a dispute that we know. Raises NotFound and StripeUnavailable."""
    async with ctx.sessions() as session:
        if await session.get(disputes.Dispute, dispute_id) is None:
            raise NotFound("There is no such dispute.")
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.disputes.retrieve_async(dispute_id)
    return _staged(fetched)


def _staged(fetched: stripe.Dispute) -> StagedEvidence:
    evidence = {
        name: value for name, value in fetched.evidence.to_dict().items() if isinstance(value, str)
    }
    texts = {field: evidence.pop(field, "") for field in EvidenceField}
    return StagedEvidence(fetched, texts, has_other_fields=any(evidence.values()))


async def is_quarantined(ctx: Context, charge_id: str) -> bool:
    """Whether a payment came from a protected country."""
    async with ctx.sessions() as session:
        return await session.get(Quarantine, charge_id) is not None


async def save(
    ctx: Context,
    dispute_id: str,
    texts: Mapping[EvidenceField, str],
    *,
    submit: bool,
    names_nobody: bool,
    seen_version: str,
    idempotency_key: str,
) -> None:
    """Stage evidence at Stripe, or send it to the bank, and store the dispute as it is then.

    `names_nobody` is what the colleague confirms, and needed under a donor safety policy. Raises
    InvalidField, EvidenceRefused, NotFound and StripeUnavailable.
    """
    checked = {field: _validated(field, text) for field, text in texts.items()}
    if submit and not any(checked.values()):
        raise InvalidField("Nothing is written yet. Nothing was sent.", field="product_description")
    if submit and ctx.settings.safety_policy is not None and not names_nobody:
        raise InvalidField(
            "Confirm that the evidence names nobody. Nothing was sent.", field="names_nobody"
        )
    staged = await load(ctx, dispute_id)
    await _ensure_answerable(ctx, staged, seen_version)
    if submit and staged.has_other_fields and ctx.settings.safety_policy is not None:
        raise EvidenceRefused(
            "At Stripe more is staged than this page shows, and it would be sent as well. Take it"
            " out there, or send it from there. Nothing was sent."
        )
    changed: Any = {
        field.value: text for field, text in checked.items() if text != staged.texts[field]
    }
    params: DisputeUpdateParams = {"evidence": changed, "submit": submit}
    await _change(ctx, dispute_id, params, f"evidence-{idempotency_key}")
    answer = await load(ctx, dispute_id)
    was_sent = answer.dispute.evidence_details.submission_count > 0
    if answer.texts != checked or was_sent is not submit:
        raise EvidenceRefused(
            "Stripe has other evidence than was typed. Look at this page again before anything"
            " else is sent."
        )


async def _change(
    ctx: Context, dispute_id: str, params: DisputeUpdateParams, idempotency_key: str
) -> None:
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.v1.disputes.update_async(
                dispute_id, params, {"idempotency_key": idempotency_key}
            )
    except stripe.InvalidRequestError as error:
        raise EvidenceRefused(
            "Stripe does not take this answer: it was answered meanwhile, or its day has passed."
            " Nothing was sent."
        ) from error
    finally:
        await disputes.sync(ctx, dispute_id)


async def accept(ctx: Context, dispute_id: str, *, seen_version: str) -> None:
    """Give a dispute up: it is lost. Raises EvidenceRefused, NotFound and StripeUnavailable."""
    staged = await load(ctx, dispute_id)
    if staged.dispute.status != DisputeStatus.NEEDS_RESPONSE:
        raise EvidenceRefused(
            "Only a dispute that waits for our answer can be accepted. Nothing was changed."
        )
    _ensure_unchanged(staged, seen_version)
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.v1.disputes.close_async(
                dispute_id, {}, {"idempotency_key": f"accept-{dispute_id}"}
            )
    except stripe.InvalidRequestError as error:
        raise EvidenceRefused("Stripe has closed this dispute already.") from error
    finally:
        await disputes.sync(ctx, dispute_id)
    answer = await load(ctx, dispute_id)
    if answer.dispute.status != DisputeStatus.LOST:
        raise EvidenceRefused("Stripe has not closed this dispute. Look at this page again.")


async def _ensure_answerable(ctx: Context, staged: StagedEvidence, seen_version: str) -> None:
    if await is_quarantined(ctx, str(stripe_client.id_of(staged.dispute.charge))):
        raise EvidenceRefused(
            "This payment came from a protected country. An answer would tell the donor's bank what"
            " it was for, so none is sent from here. Nothing was sent."
        )
    if not staged.is_answerable(ctx.now().timestamp()):
        due_by = staged.dispute.evidence_details.due_by
        is_late = due_by is not None and from_unix(due_by) <= ctx.now()
        raise EvidenceRefused(
            "The day until which it could be answered has passed. Nothing was sent."
            if is_late
            else "This dispute was answered before, or is closed. Nothing was sent."
        )
    _ensure_unchanged(staged, seen_version)


def _ensure_unchanged(staged: StagedEvidence, seen_version: str) -> None:
    if staged.version != seen_version:
        raise EvidenceRefused(
            "The evidence was changed meanwhile, in another tab or at Stripe. Nothing was sent."
            " What you typed stands below; what is staged is on the page when you open it again."
        )


def _validated(field: EvidenceField, typed: str) -> str:
    text = typed.replace("\r\n", "\n").strip()
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidField(
            f"{MAX_TEXT_LENGTH:,} characters are the most of one field. Nothing was sent.",
            field=field,
        )
    without_days = _DAY.sub("", text)
    if (
        "@" in text
        or CARD_NUMBER_PATTERN.search(without_days)
        or any(map(_is_ip, _words(without_days)))
    ):
        raise InvalidField(
            "Evidence from here holds no e-mail address, no IP address and no card number: the"
            " bank passes it on. Nothing was sent.",
            field=field,
        )
    return text


def _words(text: str) -> list[str]:
    return [word.strip(".:") for word in _WORD_OF_AN_ADDRESS.findall(text)]


def _is_ip(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True
