"""The proxies before the service, as an attacker would use them: the doctor writes a false sender
into X-Forwarded-For, through the real proxy with the configuration in deploy/, and looks.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from payments.infra import client_probe, signing
from payments.ops import doctor
from payments.risk.statement_descriptor import CheckFinding
from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom
from tests.support.ports import reserve_port
from tests.support.serving import serve_newsroom

pytestmark = pytest.mark.anyio
DEPLOY = Path(__file__).parents[2] / "deploy"
OVERWRITES = {
    "nginx": "proxy_set_header X-Forwarded-For $remote_addr;",
    "caddy": "header_up X-Forwarded-For {remote_host}",
}
# What nginx does instead, and what the doctor says of it; None where nothing is wrong.
UNKIND = {
    OVERWRITES["nginx"]: None,
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;": None,
    "": "passes X-Forwarded-For on as it was sent",
    'proxy_set_header X-Forwarded-For "";': "sends no X-Forwarded-For",
}


def nginx_config(upstream: int, port: int, folder: Path) -> list[str]:
    """deploy/nginx.conf at a port of this machine, without certificates."""
    text = (DEPLOY / "nginx.conf").read_text()
    text = re.sub(r"    server \{\n        listen 80;.*?\n    \}\n", "", text, flags=re.DOTALL)
    text = re.sub(r".*(ssl_|listen \[::\]).*\n", "", text)
    text = text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {\n", f"http {{\n{temporary}")
    text = f"daemon off;\npid {folder}/pid;\nerror_log stderr;\n{text}"
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def caddy_config(upstream: int, port: int, folder: Path) -> list[str]:
    """deploy/Caddyfile at a port of this machine, without a certificate."""
    text = (DEPLOY / "Caddyfile").read_text()
    text = text.replace("{\n\tservers", "{\n\tadmin off\n\tauto_https off\n\tservers", 1)
    text = text.replace("support.example.org {", f"http://127.0.0.1:{port} {{\n\tbind 127.0.0.1")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
    (folder / "Caddyfile").write_text(text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


CONFIGS = {"nginx": nginx_config, "caddy": caddy_config}


@asynccontextmanager
async def proxied(
    room: Newsroom, proxy: str, folder: Path, *, instead: str | None = None
) -> AsyncIterator[str]:
    """Serve a newsroom behind a proxy. Yields the proxy's origin."""
    if shutil.which(proxy) is None:
        pytest.skip(f"{proxy} is not here: nothing went through it")
    async with AsyncExitStack() as stack:
        port, upstream = (stack.enter_context(reserve_port()) for _ in range(2))
        await stack.enter_async_context(serve_newsroom(room, upstream))
        command = CONFIGS[proxy](upstream, port, folder)
        if instead is not None:
            change(Path(command[-1]), OVERWRITES[proxy], instead)
        process = await asyncio.create_subprocess_exec(
            *command,
            env={"HOME": str(folder), "PATH": "/usr/bin:/usr/sbin:/bin:/sbin"},
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await _wait_until_open(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _wait_until_open(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(REAL_TIMEOUT_SECONDS):
        while True:
            assert process.returncode is None, "the proxy did not start"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def looks(room: Newsroom, **settings: object) -> CheckFinding:
    """What the doctor finds."""
    ctx = replace(room.ctx, settings=room.settings.model_copy(update=settings))
    (found,) = await doctor.CHECKS["proxies"](ctx)
    return found


@pytest.mark.parametrize("proxy", OVERWRITES)
async def test_behind_the_proxy_of_the_documentation_nobody_chooses_who_they_are(
    newsroom: Newsroom, proxy: str, tmp_path: Path
) -> None:
    async with proxied(newsroom, proxy, tmp_path) as origin:
        found = await looks(newsroom, base_url=origin)
        async with httpx.AsyncClient(base_url=origin) as web:
            page = await web.get("/health/live", headers={"x-forwarded-for": "192.0.2.1"})
    assert found.ok, found.description
    assert "was not believed" in found.description
    assert page.status_code == 200


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
