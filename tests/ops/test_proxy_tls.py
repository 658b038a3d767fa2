"""What the proxies of deploy/ speak: TLS that nobody can weaken, and no secret in the clear."""

import asyncio
import ssl
import warnings
from pathlib import Path
from ssl import TLSVersion

import httpx
import pytest

from tests.support.ports import reserve_port
from tests.support.proxies import CERTIFICATE, OVERWRITES, in_the_clear, running, with_tls

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("proxy", OVERWRITES)
async def test_in_the_clear_a_person_is_redirected_and_a_program_refused(
    proxy: str, tmp_path: Path
) -> None:
    with reserve_port() as port:
        command = in_the_clear(proxy, port, tmp_path)
        async with (
            running(command, port, tmp_path),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as web,
        ):
            page = await web.get("/donate?amount=5")
            assert page.status_code == 301
            assert page.headers["location"] == "https://127.0.0.1/donate?amount=5"
            for path in ("/api/contributions", "/webhooks/stripe", "/webhooks/mail", "/metrics"):
                assert (await web.post(path, content=b"{}")).status_code == 403


@pytest.mark.parametrize("proxy", OVERWRITES)
async def test_the_proxies_speak_only_what_is_recommended(proxy: str, tmp_path: Path) -> None:
    """TLS 1.2 with forward secrecy and authenticated encryption, and TLS 1.3; the newest first."""
    with reserve_port() as port:
        async with running(with_tls(proxy, port, tmp_path), port, tmp_path):
            assert await speaks(port, TLSVersion.TLSv1_3) == "TLSv1.3"
            assert await speaks(port, TLSVersion.TLSv1_2) == "TLSv1.2"
            assert await speaks(port, TLSVersion.TLSv1_1) is None
            for weak in (
                "ECDHE-ECDSA-AES128-SHA",
                "ECDHE-ECDSA-AES256-SHA384",
                "aNULL",
                "AES128-SHA",
            ):
                assert await speaks(port, TLSVersion.TLSv1_2, f"{weak}:@SECLEVEL=0") is None, weak


async def speaks(port: int, newest: TLSVersion, ciphers: str = "DEFAULT:@SECLEVEL=0") -> str | None:
    """The version of TLS that a proxy answers with; None where it refuses."""
    context = ssl.create_default_context(cafile=CERTIFICATE)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = TLSVersion.TLSv1
        context.maximum_version = newest
    context.set_ciphers(ciphers)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return None
    version: str = writer.get_extra_info("ssl_object").version()
    writer.close()
    return version
