"""Where to report a security problem: /.well-known/security.txt, as RFC 9116 says."""

from datetime import timedelta

from litestar import MediaType, Response, get
from litestar.di import NamedDependency

from payments.core.errors import NotFound
from payments.infra.context import Context

LIFETIME = timedelta(days=180)  # RFC 9116, 2.5.5: less than a year


@get("/.well-known/security.txt", include_in_schema=False)
async def security_txt(ctx: NamedDependency[Context]) -> Response[str]:
    """Return the contact and how long it stands. Not found where no contact is set.

    It names nobody else: an address of this service may have to stay neutral.
    """
    if not ctx.settings.security_contact:
        raise NotFound("There is nothing at this address.")
    expires_at = (ctx.now() + LIFETIME).replace(microsecond=0)
    lines = [
        f"Contact: {ctx.settings.security_contact}",
        f"Expires: {expires_at.isoformat().replace('+00:00', 'Z')}",
        "Preferred-Languages: en",
        f"Canonical: {ctx.settings.base_url}/.well-known/security.txt",
    ]
    return Response("\n".join(lines) + "\n", media_type=MediaType.TEXT)
