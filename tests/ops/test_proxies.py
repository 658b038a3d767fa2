"""The proxies before the service, as an attacker would use them: the doctor writes a false sender
into X-Forwarded-For, through the real proxy with the configuration in deploy/, and looks.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from payments.infra import alerts, client_probe, signing
from payments.infra.alerts import AlertKind
from payments.ops import doctor
from payments.risk.statement_descriptor import CheckFinding
from tests.support.newsroom import Newsroom
from tests.support.ports import reserve_port
from tests.support.proxies import OVERWRITES, proxy_before
from tests.support.serving import serve_newsroom
from webhooks import intake

pytestmark = pytest.mark.anyio
TOO_MUCH = intake.MAX_BODY_BYTES + 1
# What nginx does instead, and what the doctor says of it; None where nothing is wrong.
UNKIND = {
    OVERWRITES["nginx"]: None,
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;": None,
    "": "passes X-Forwarded-For on as it was sent",
    'proxy_set_header X-Forwarded-For "";': "sends no X-Forwarded-For",
}


@asynccontextmanager
async def proxied(
    room: Newsroom, proxy: str, folder: Path, *, instead: str | None = None
) -> AsyncIterator[str]:
    """Serve a newsroom behind a proxy. Yields the proxy's origin."""
    with reserve_port() as port, reserve_port() as closed:
        async with (
            serve_newsroom(room, port),
            proxy_before(proxy, port, closed, folder, instead=instead) as origin,
        ):
            yield origin


async def looks(room: Newsroom, **settings: object) -> CheckFinding:
    """What the doctor finds."""
    ctx = replace(room.ctx, settings=room.settings.model_copy(update=settings))
    (found,) = await doctor.CHECKS["proxies"](ctx)
    return found


@pytest.mark.parametrize("proxy", OVERWRITES)
async def test_behind_the_proxy_of_the_documentation_nobody_chooses_who_they_are(
    newsroom: Newsroom, proxy: str, tmp_path: Path
) -> None:
    async with newsroom.ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.READERS_HIDDEN, object_id="here", now=newsroom.clock()
        )
    async with proxied(newsroom, proxy, tmp_path) as origin:
        found = await looks(newsroom, base_url=origin)
        async with httpx.AsyncClient(base_url=origin) as web:
            page = await web.get("/health/live", headers={"x-forwarded-for": "192.0.2.1"})
            to_us = {"host": "127.0.0.1:8000"}
            webhook = await web.post("/webhooks/stripe", headers=to_us)
            refused = [
                await web.post("/webhooks/stripe", headers=to_us, content=bytes(size))
                for size in (TOO_MUCH, TOO_MUCH, 4 * TOO_MUCH, 4 * TOO_MUCH)
            ]
            afterwards = await web.post("/webhooks/stripe", headers=to_us)
    assert found.ok, found.description
    assert "was not believed" in found.description
    assert await newsroom.rows("SELECT kind FROM alerts WHERE closed_at IS NULL") == []
    assert page.status_code == 200
    # Their port is not open: they go to the other, which refuses this one for what it is.
    assert (webhook.status_code, "Stripe-Signature" in webhook.text) == (400, True)
    # What anybody sends does not make a proxy take our ports for broken, and hold webhooks back.
    assert {answer.status_code for answer in refused} <= {413, 502}
    assert (afterwards.status_code, "Stripe-Signature" in afterwards.text) == (400, True)


@pytest.mark.parametrize("proxy", OVERWRITES)
async def test_a_proxy_writes_down_nobody_whose_request_met_an_error(
    proxy: str, tmp_path: Path
) -> None:
    with reserve_port() as closed, reserve_port() as closed_too:
        async with (
            proxy_before(proxy, closed, closed_too, tmp_path) as origin,
            httpx.AsyncClient(base_url=origin) as web,
        ):
            page = await web.get("/manage/enter/canary", headers={"user-agent": "canary"})
            large = await web.post("/donate?canary", content=bytes(4 * TOO_MUCH))
    assert (page.status_code, large.status_code) in ((502, 413), (502, 502))
    said = (tmp_path / "stderr").read_text()
    assert "canary" not in said
    assert "remote_ip" not in said
    assert "client:" not in said


@pytest.mark.parametrize(("instead", "says"), UNKIND.items())
async def test_a_proxy_that_lies_is_seen(
    newsroom: Newsroom, tmp_path: Path, instead: str, says: str | None
) -> None:
    async with proxied(newsroom, "nginx", tmp_path, instead=instead) as origin:
        found = await looks(newsroom, base_url=origin)
    assert found.ok is (says is None), found.description
    assert (says or "was not believed") in found.description


async def test_without_a_word_about_proxies_none_is_believed(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    """The service sees one address for all. It says so, and lets nobody forge another."""
    object.__setattr__(newsroom.ctx.settings, "trusted_proxies", ())
    async with proxied(newsroom, "nginx", tmp_path, instead="") as origin:
        found = await looks(newsroom, base_url=origin)
        seen = await client_probe.send(newsroom.ctx, origin)
    assert "is not believed" in found.description
    assert (seen.peer, seen.is_trusted, seen.hops) == ("127.0.0.1", False, (client_probe.FORGED,))


async def test_only_the_doctor_is_shown_what_arrives(newsroom: Newsroom) -> None:
    ctx = newsroom.ctx
    keys, now = ctx.settings.hmac_keys, ctx.now()
    old = now - 2 * client_probe.TOKEN_LIFETIME
    right = signing.sign_token(keys, client_probe.PURPOSE, "doctor", now=now)
    refused = [
        "",
        "x",
        right[:-2],
        signing.sign_token(keys, "form", "doctor", now=now),
        signing.sign_token((b"another key",), client_probe.PURPOSE, "doctor", now=now),
        signing.sign_token(keys, client_probe.PURPOSE, "doctor", now=old),
    ]
    for token in refused:
        headers = {"authorization": f"Bearer {token}"}
        assert (await newsroom.web.get(client_probe.PATH, headers=headers)).status_code == 404
    shown = await newsroom.web.get(
        client_probe.PATH, headers={"authorization": f"Bearer {right}", "x-forwarded-for": "a, b"}
    )
    assert shown.json() == {"peer": "127.0.0.1", "is_trusted": True, "hops": ["a", "b"]}
