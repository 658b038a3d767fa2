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
OVERWRITES = {
    "nginx": "proxy_set_header X-Forwarded-For $remote_addr;",
    "caddy": "header_up X-Forwarded-For {remote_host}",
}


def nginx_config(readers: int, webhooks: int, port: int, folder: Path) -> list[str]:
    """deploy/nginx.conf at a port of this machine, without certificates."""
    text = (DEPLOY / "nginx.conf").read_text()
    text = re.sub(r"    server \{\n        listen 80;.*?\n    \}\n", "", text, flags=re.DOTALL)
    text = re.sub(r".*(ssl_|listen \[::\]).*\n", "", text)
    text = text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{readers}").replace(
        "127.0.0.1:8001", f"127.0.0.1:{webhooks}"
    )
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {\n", f"http {{\n{temporary}")
    text = f"daemon off;\npid {folder}/pid;\nerror_log stderr;\n{text}"
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def caddy_config(readers: int, webhooks: int, port: int, folder: Path) -> list[str]:
    """deploy/Caddyfile at a port of this machine, without a certificate."""
    text = (DEPLOY / "Caddyfile").read_text()
    text = text.replace("{\n\tservers", "{\n\tadmin off\n\tauto_https off\n\tservers", 1)
    text = text.replace("support.example.org {", f"http://127.0.0.1:{port} {{\n\tbind 127.0.0.1")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{readers}").replace(
        "127.0.0.1:8001", f"127.0.0.1:{webhooks}"
    )
    (folder / "Caddyfile").write_text(text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


CONFIGS = {"nginx": nginx_config, "caddy": caddy_config}


@asynccontextmanager
async def proxy_before(
    proxy: str, readers: int, webhooks: int, folder: Path, *, instead: str | None = None
) -> AsyncIterator[str]:
    """Run a proxy before two ports. Yields its origin. Skips the test where it is not installed."""
    if shutil.which(proxy) is None:
        pytest.skip(f"{proxy} is not here: nothing went through it")
    with reserve_port() as port:
        command = CONFIGS[proxy](readers, webhooks, port, folder)
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
