"""A MaxMind database of a few IPv4 networks, made by hand. https://maxmind.github.io/MaxMind-DB/"""

import ipaddress

Pairs = list[tuple[str, bytes]]
SEPARATOR = 16  # bytes between the tree and the data


def country_database(networks: dict[str, str]) -> bytes:
    """The file in which each network has its country."""
    places: dict[str, int] = {}
    data = b""
    for code in sorted(set(networks.values())):
        places[code] = len(data)
        data += _map([("country", _map([("iso_code", _text(code))]))])
    nodes = _nodes(networks)
    tree = b"".join(
        _record(record, len(nodes), places).to_bytes(3, "big") for node in nodes for record in node
    )
    return tree + bytes(SEPARATOR) + data + b"\xab\xcd\xefMaxMind.com" + _metadata(len(nodes))


def _nodes(networks: dict[str, str]) -> list[list[int | str | None]]:
    """The tree: in each node what follows a 0 and a 1, another node or a country."""
    nodes: list[list[int | str | None]] = [[None, None]]
    for network, code in networks.items():
        net, at = ipaddress.IPv4Network(network), 0
        *way, last = (int(bit) for bit in f"{int(net.network_address):032b}"[: net.prefixlen])
        for bit in way:
            child = nodes[at][bit]
            if child is None:
                nodes.append([None, None])
                child = nodes[at][bit] = len(nodes) - 1
            assert isinstance(child, int)
            at = child
        nodes[at][last] = code
    return nodes


def _record(record: int | str | None, count: int, places: dict[str, int]) -> int:
    if isinstance(record, str):
        return count + SEPARATOR + places[record]
    return count if record is None else record


def _metadata(count: int) -> bytes:
    return _map([
        ("node_count", _number(6, count, 4)),
        ("record_size", _number(5, 24, 2)),
        ("ip_version", _number(5, 4, 2)),
        ("database_type", _text("Country")),
        ("languages", bytes([0, 11 - 7])),
        ("description", _map([])),
        ("binary_format_major_version", _number(5, 2, 2)),
        ("binary_format_minor_version", _number(5, 0, 2)),
        ("build_epoch", _number(9, 1_700_000_000, 8)),
    ])  # fmt: skip


def _text(word: str) -> bytes:
    return bytes([2 << 5 | len(word)]) + word.encode()


def _number(kind: int, value: int, size: int) -> bytes:
    head = bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])
    return head + value.to_bytes(size, "big")


def _map(pairs: Pairs) -> bytes:
    return bytes([7 << 5 | len(pairs)]) + b"".join(_text(name) + it for name, it in pairs)
