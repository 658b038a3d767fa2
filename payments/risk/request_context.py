"""What is known of a request to start a contribution, or of another form that anybody may send.

It lives as long as the request.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """A verified proof of work or queue ticket, not yet used. `lifetime` is how long its use is
    remembered.
    """

    digest: bytes
    lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """Who asks, and what they bring."""

    client_ip: str  # empty where nobody can tell
    purpose: str = ""  # what is asked for, which is limited by itself; empty for a gift
    attempt_id: str = ""  # a random id of what is sent: sent again, it is the same attempt
    is_suspicious: bool = False  # sent implausibly fast, or without the form's own timestamp
    filled_honeypot: bool = False  # a field was filled in that no person sees
    clearance: Clearance | None = None
    declaration_accepted: bool = False  # they say that they may pay: see `donor_notice`
    origin: str = ""  # the origin of ours by which they came
