"""The proxies before the service, with the configurations in deploy/."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.newsroom import REAL_TIMEOUT_SECONDS
from tests.support.ports import reserve_port

DEPLOY = Path(__file__).parents[2] / "deploy"
CERTIFICATE = Path(__file__).parent / "localhost.pem"
OVERWRITES = {
    "nginx": "proxy_set_header X-Forwarded-For $remote_addr;",
    "caddy": "header_up X-Forwarded-For {remote_host}",
}


def nginx_config(readers: int, webhooks: int, port: int, folder: Path) -> list[str]:
    """deploy/nginx.conf at a port of this machine, without certificates."""
    text = without_block((DEPLOY / "nginx.conf").read_text(), "    server {\n        listen 80;")
    text = re.sub(r".*(ssl_|listen \[::\]).*\n", "", text)
    text = text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};")
    text = _at_ports(text, readers, webhooks)
    return nginx_command(text, folder)


def _at_ports(text: str, readers: int, webhooks: int) -> str:
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{readers}")
    return text.replace("127.0.0.1:8001", f"127.0.0.1:{webhooks}")


def nginx_command(text: str, folder: Path) -> list[str]:
    """Write a configuration and return what runs it as an ordinary user."""
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {\n", f"http {{\n{temporary}")
    text = text.replace("/var/log/nginx/error.log", "stderr")
    text = f"daemon off;\npid {folder}/pid;\n{text}"
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def caddy_config(readers: int, webhooks: int, port: int, folder: Path) -> list[str]:
    """deploy/Caddyfile at a port of this machine, without a certificate."""
    text = without_block((DEPLOY / "Caddyfile").read_text(), "http://support.example.org {")
    text = text.replace("support.example.org {", f"http://127.0.0.1:{port} {{\n\tbind 127.0.0.1")
    text = text.replace("{$UPSTREAM_HOST:127.0.0.1}", "127.0.0.1")
    text = _at_ports(text, readers, webhooks)
    return caddy_command(text, folder)


def caddy_command(text: str, folder: Path) -> list[str]:
    """Write a configuration and return what runs it as an ordinary user."""
    text = text.replace("{\n\tservers", "{\n\tadmin off\n\tauto_https off\n\tservers", 1)
    (folder / "Caddyfile").write_text(text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def without_block(text: str, begin: str) -> str:
    """A configuration without the block that begins so."""
    before, _, rest = text.partition(begin)
    indent = begin[: len(begin) - len(begin.lstrip())]
    return before + rest.partition(f"\n{indent}}}\n")[2]


def in_the_clear(proxy: str, port: int, folder: Path) -> list[str]:
    """What a proxy of deploy/ does without TLS, at a port of this machine."""
    if proxy == "caddy":
        text = without_block((DEPLOY / "Caddyfile").read_text(), "\nsupport.example.org {")
        there = f"http://127.0.0.1:{port} {{\n\tbind 127.0.0.1"
        return caddy_command(text.replace("http://support.example.org {", there), folder)
    text = (DEPLOY / "nginx.conf").read_text()
    text = without_block(text, "    server {\n        listen 443")
    text = re.sub(r".*listen \[::\].*\n", "", text)
    return nginx_command(text.replace("listen 80;", f"listen 127.0.0.1:{port};"), folder)


def with_tls(proxy: str, port: int, folder: Path) -> list[str]:
    """What a proxy of deploy/ does with TLS, with a certificate of the tests."""
    if proxy == "caddy":
        text = without_block((DEPLOY / "Caddyfile").read_text(), "http://support.example.org {")
        there = f"https://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n\ttls {CERTIFICATE} {CERTIFICATE}"
        return caddy_command(text.replace("support.example.org {", there), folder)
    text = without_block((DEPLOY / "nginx.conf").read_text(), "    server {\n        listen 80;")
    text = re.sub(r".*listen \[::\].*\n", "", text)
    text = re.sub(r"/etc/ssl/\S+\.(pem|key)", str(CERTIFICATE), text)
    return nginx_command(text.replace("listen 443", f"listen 127.0.0.1:{port}"), folder)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


CONFIGS = {"nginx": nginx_config, "caddy": caddy_config}


@asynccontextmanager
async def proxy_before(
    proxy: str, readers: int, webhooks: int, folder: Path, *, instead: str | None = None
) -> AsyncIterator[str]:
    """Run a proxy before two ports. Yields its origin."""
    with reserve_port() as port:
        command = CONFIGS[proxy](readers, webhooks, port, folder)
        if instead is not None:
            change(Path(command[-1]), OVERWRITES[proxy], instead)
        async with running(command, port, folder):
            yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def running(command: list[str], port: int, folder: Path) -> AsyncIterator[None]:
    """Run a proxy, which writes what it says into the folder's `stderr`. Skips the test where it is
    not installed.
    """
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here: nothing went through it")
    with (folder / "stderr").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={"HOME": str(folder), "PATH": "/usr/bin:/usr/sbin:/bin:/sbin"},
            stderr=stderr,
        )
    try:
        await _wait_until_open(port, process)
        yield
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
