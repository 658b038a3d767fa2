"""An endpoint leads to a public address and nowhere else, whatever it answers there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from payments.core.errors import InvalidField
from payments.infra.outgoing_events import addresses, transport
from payments.infra.outgoing_events.tables import Problem
from tests.support.events import Receiver

pytestmark = pytest.mark.anyio
Talk = Callable[[asyncio.StreamWriter], None]

# What is no address of the internet, or carries one that a gateway would lead to.
PRIVATE = (
    *("127.0.0.1", "10.0.0.7", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "192.0.2.1", "198.18.0.1"),  # noqa: S104
    *("::1", "::", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:10.0.0.7", "::ffff:8.8.8.8", "::10.0.0.7", "64:ff9b::a00:7", "64:ff9b:1::a00:7"),
    *("2002:a00:7::", "2001:0:a00:7::1", "fec0::1", "feff::1", "5f00::1", "3fff::1", "4000::1"),
)
PUBLIC = ("8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")


async def test_only_public_addresses_by_https_are_taken() -> None:
    assert [address for address in PRIVATE if addresses.is_public(address)] == []
    assert [address for address in PUBLIC if not addresses.is_public(address)] == []
    for refused in (
        "",
        "hooks.example.org",
        "http://hooks.example.org/",
        "ftp://hooks.example.org/",
        "https:///path",
        "https://",
        "https://a b/",
        "https://user:pass@hooks.example.org/",
        "https://hooks.example.org/#part",
        "https://hooks.example.org:port/",
        "https://hooks.example.org/\r\nHost: x",
        "https://hooks.example.org/" + "x" * 500,
        "http://127.0.0.1/",
        "http://localhost/",
    ):
        with pytest.raises(InvalidField):
            addresses.validate_url(refused, loopback=False)
    assert addresses.validate_url("https://hooks.example.org/x?y=1", loopback=False)
    assert addresses.validate_url("http://127.0.0.1:80/", loopback=True)
    for refused in ("http://10.0.0.7/", "http://hooks.example.org/"):
        with pytest.raises(InvalidField):
            addresses.validate_url(refused, loopback=True)
    for private in (
        "https://localhost/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
    ):
        with pytest.raises(InvalidField, match="private network"):
            await addresses.require_public(private, loopback=False)
    with pytest.raises(InvalidField, match="not known"):
        await addresses.require_public("https://nobody.invalid/", loopback=False)
    await addresses.require_public("https://8.8.8.8/", loopback=False)


async def sends(url: str, *, loopback: bool = True, seconds: float = 5) -> transport.Answer:
    return await transport.post(url, b"{}", {}, loopback=loopback, timeout_seconds=seconds)


async def test_a_name_that_leads_elsewhere_by_now_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver = Receiver()
    await receiver.open()
    try:
        for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
            url = f"http://{host}:{receiver.port}/"
            answer = await sends(url, loopback=False)
            assert (answer.problem, answer.status) == (Problem.ADDRESS_REFUSED, None), host
        assert receiver.came == []
        monkeypatch.setenv("HTTP_PROXY", receiver.url)  # which nothing goes through
        answer = await sends("http://127.0.0.1:9/")
        assert answer.problem is Problem.UNREACHABLE
        assert receiver.came == []
        assert (await sends(receiver.url)).problem is None
        assert len(receiver.came) == 1
    finally:
        await receiver.aclose()


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[str]:
    """A server that says whatever it says, to whatever it is asked. Yields its address."""

    writers = list[asyncio.StreamWriter]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(1)
        talk(writer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_whatever_an_endpoint_answers_is_an_answer() -> None:
    def says(text: bytes, *, closes: bool = True) -> Talk:
        def talk(writer: asyncio.StreamWriter) -> None:
            writer.write(text)
            if closes:
                writer.close()

        return talk

    head = b"HTTP/1.1 "
    long = b"x" * 100_000
    for text, problem, status in (
        (b"SSH-2.0-OpenSSH\r\n", Problem.GARBAGE, None),
        (b"", Problem.UNREACHABLE, None),
        (head + b"200 OK\r\n" + b"a: b\r\n" * 100_000, Problem.GARBAGE, None),
        (head + b"204 No Content\r\n\r\n", None, 204),
        (head + b"302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", Problem.REDIRECTED, 302),
        (head + b"500 X\r\nContent-Length: 100000\r\n\r\n" + long, Problem.STATUS, 500),
        (head + b"500 X\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\0\0", Problem.STATUS, 500),
        (head + b"200 OK\r\nContent-Length: 9\r\n\r\n", None, 200),  # it ends too soon
    ):
        async with server(says(text)) as place:
            answer = await sends(f"http://{place}/")
        assert (answer.problem, answer.status) == (problem, status), text[:40]
        assert len(answer.excerpt) <= 200
    async with server(says(head + b"503 X\r\nRetry-After: 90\r\n\r\n<p>\0 so\n sorry")) as place:
        answer = await sends(f"http://{place}/")
        assert (answer.excerpt, answer.retry_after) == ("<p> so sorry", timedelta(seconds=90))
        assert (await sends(f"https://{place}/")).problem is Problem.TLS
    async with server(says(b"", closes=False)) as place:
        assert (await sends(f"http://{place}/", seconds=0.2)).problem is Problem.TIMED_OUT
    slow = head + b"500 X\r\nContent-Length: 9\r\n\r\n"
    async with server(says(slow, closes=False)) as place:
        answer = await sends(f"http://{place}/", seconds=0.2)
        assert (answer.problem, answer.status) == (Problem.STATUS, 500)
