"""A DNS server on this machine that knows the TXT records a test gives it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


@dataclass
class DnsServer(asyncio.DatagramProtocol):
    """Texts by name. A name that is not there does not exist; one that is broken has SERVFAIL."""

    records: dict[str, list[str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(name)
        answer = dns.message.make_response(query)
        if name in self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name not in self.records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif texts := self.records[name]:
            strings = [
                " ".join(f'"{text[i : i + 255]}"' for i in range(0, len(text), 255))
                for text in texts
            ]
            answer.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", "TXT", strings))
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def serving_dns() -> AsyncIterator[DnsServer]:
    """Answer at a port of this machine, which `address` names."""
    server = DnsServer()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    try:
        server.address = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
        yield server
    finally:
        transport.close()
