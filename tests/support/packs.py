"""Packs of closed months, and what somebody may do to one before it is verified."""

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from payments.accounting import (
    close_pack,
    corrections,
    daily_totals,
    pack_archive,
    pack_manifest,
    pack_verification,
    period_close,
)
from payments.accounting.corrections import Proposal
from payments.accounting.pack_archive import ArchiveWriter
from payments.accounting.pack_manifest import MANIFEST_FILE, SIGNATURE_FILE
from payments.accounting.pack_verification import PackCheck
from payments.infra.second_person import Actor
from payments.sandbox import balance as sandbox_balance
from tests.support.newsroom import Newsroom
from tests.support.secret_values import secret_named

SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret_named("close packs")))
PUBLIC_KEY = SIGNING_KEY.public_key().public_bytes_raw().hex()
STRANGER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
Edit = Callable[[bytes], bytes]


def find_problems(*packs: bytes, keys: tuple[str, ...] = ()) -> list[str]:
    """The checks that fail, of each pack and of all together."""
    checked = [pack_verification.check_pack(pack, keys=keys) for pack in packs]
    checks: list[PackCheck] = [one for pack in checked for one in pack.checks]
    if len(packs) > 1:
        checks += pack_verification.check_chain(checked, keys=keys)
    return [f"{check.description}: {check.problem}" for check in checks if check.problem]


def files_of(pack: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archived(files: Mapping[str, bytes]) -> bytes:
    """An archive of the one form, with whatever files in this order."""
    out = io.BytesIO()
    archive = ArchiveWriter(out)
    for name, data in files.items():
        archive.add(name, io.BytesIO(data))
    archive.finish()
    return out.getvalue()


def signed_by_a_stranger(files: dict[str, bytes], **says: object) -> bytes:
    """A pack of these files that all agrees, but for what it says; signed with another key."""
    out, contents = io.BytesIO(), dict(files)
    manifest = pack_manifest.parse(contents.pop(MANIFEST_FILE))
    del contents[SIGNATURE_FILE]
    archive = ArchiveWriter(out)
    for name in sorted(contents):
        archive.add(name, io.BytesIO(contents[name]))
    manifest.packed = archive.packed_files()
    members = pack_archive.read_archive(archived(files | contents)).digests
    manifest.files = {name: members[name] for name in contents}
    manifest.public_key = STRANGER.public_key().public_bytes_raw().hex()
    for name, value in says.items():
        setattr(manifest, name, value)
    signed = manifest.to_bytes()
    archive.add(MANIFEST_FILE, io.BytesIO(signed))
    archive.add(SIGNATURE_FILE, io.BytesIO(pack_manifest.sign(signed, STRANGER)))
    archive.finish()
    return out.getvalue()


def zipped_by_python(
    pack: bytes, edit: Callable[[zipfile.ZipInfo], object] = lambda _: None, level: int = 6
) -> bytes:
    """The same files, archived by the standard library, with something else in each header."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files_of(pack).items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            is_last = name in pack_archive.LAST_FILES
            info.compress_type = zipfile.ZIP_STORED if is_last else zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            info.create_system = 3
            edit(info)
            archive.writestr(info, data, compresslevel=level)
    return made.getvalue()


def _headers(field: str, value: object, only: str = "payouts.csv") -> Edit:
    def edit(info: zipfile.ZipInfo) -> None:
        if info.filename == only:
            setattr(info, field, value)

    return lambda pack: zipped_by_python(pack, edit)


def _poked(mark: bytes, at: int, layout: str, value: int) -> Edit:
    """Write a number into the first header of a kind."""

    def edit(pack: bytes) -> bytes:
        changed = bytearray(pack)
        place = pack.rindex(mark) if mark == END else pack.index(mark)
        struct.pack_into(layout, changed, place + at, value)
        return bytes(changed)

    return edit


def _added(name: str, data: bytes, kind: int = zipfile.ZIP_DEFLATED) -> Edit:
    def edit(pack: bytes) -> bytes:
        made = io.BytesIO(pack)
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(made, "a", kind) as archive:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, kind)
        return made.getvalue()

    return edit


def _zip64(pack: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files_of(pack).items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                file.write(data)
    return made.getvalue()


class _OneWay(io.BytesIO):
    """A file that cannot go back, so that sizes follow the data."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise OSError

    def tell(self) -> int:
        raise OSError


def _descriptors(pack: bytes) -> bytes:
    made = _OneWay()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files_of(pack).items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return made.getvalue()


def _commented(pack: bytes) -> bytes:
    made = io.BytesIO(pack)
    with zipfile.ZipFile(made, "a") as archive:
        archive.comment = b"checked by Eve"
    return made.getvalue()


def _between(pack: bytes) -> bytes:
    """Bytes between the files and their directory, which other programs skip."""
    at, end = pack.index(CENTRAL), pack.rindex(END)
    changed = bytearray(pack[:at] + b"more" + pack[at:])
    struct.pack_into("<L", changed, end + 4 + 16, at + 4)
    return bytes(changed)


def _hidden(pack: bytes) -> bytes:
    """The first file stays, and is in no directory."""
    at, end = pack.index(CENTRAL), pack.rindex(END)
    second = pack.index(CENTRAL, at + 4)
    changed = bytearray(pack[:at] + pack[second:])
    count = struct.unpack_from("<H", pack, end + 8)[0] - 1
    struct.pack_into("<3H", changed, end - (second - at) + 6, 0, count, count)
    struct.pack_into("<L", changed, end - (second - at) + 12, end - second)
    return bytes(changed)


def _renamed(pack: bytes) -> bytes:
    """The directory gives a file another name than the file itself has."""
    at = pack.rindex(b"payouts.csv")
    return pack[:at] + b"payputs.csv" + pack[at + 11 :]


def _two_archives(pack: bytes) -> bytes:
    """A whole other archive follows; some programs read the first, others the last."""
    return pack + zipped_by_python(pack)


def _dropped(name: str) -> Edit:
    return lambda pack: archived({k: v for k, v in files_of(pack).items() if k != name})


def _rewritten(name: str, change: Callable[[bytes], bytes]) -> Edit:
    def edit(pack: bytes) -> bytes:
        files = files_of(pack)
        assert change(files[name]) != files[name]
        return archived(files | {name: change(files[name])})

    return edit


def replaced(name: str, old: bytes, new: bytes) -> Edit:
    """Somebody changes a file, and archives everything as it was."""
    return _rewritten(name, lambda data: data.replace(old, new, 1))


# What is done to a pack, by what another program may make of it.
TAMPERINGS: dict[str, Edit] = {
    "nothing is left": lambda _: b"",
    "not a zip": lambda _: b"Dear reader",
    "cut off": lambda pack: pack[:-1],
    "half of it": lambda pack: pack[: len(pack) // 2],
    "bytes before": lambda pack: b"#!/bin/sh\n" + pack,
    "a byte before the end": lambda pack: pack[:-2] + b"\0" + pack[-2:],
    "bytes between": _between,
    "bytes after": lambda pack: pack + b"\0",
    "two archives": _two_archives,
    "a comment": _commented,
    "a file's comment": _headers("comment", b"x"),
    "an extra field": _headers("extra", struct.pack("<HH2s", 0xCAFE, 2, b"hi")),
    "another name for it, as an extra field": _headers(
        "extra", struct.pack("<HHBL7s", 0x7075, 12, 1, 0, b"pay.csv")
    ),
    "not compressed": _headers("compress_type", zipfile.ZIP_STORED),
    "bzip2": _headers("compress_type", zipfile.ZIP_BZIP2),
    "lzma": _headers("compress_type", zipfile.ZIP_LZMA),
    "the manifest compressed": _headers("compress_type", zipfile.ZIP_DEFLATED, MANIFEST_FILE),
    "compressed in other bytes": lambda pack: zipped_by_python(pack, level=1),
    "zip64": _zip64,
    "data descriptors": _descriptors,
    "another time": _headers("date_time", (2026, 12, 1, 0, 0, 0)),
    "a symbolic link": _headers("external_attr", 0o120777 << 16),
    "a program": _headers("external_attr", 0o100755 << 16),
    "from another system": _headers("create_system", 0),
    "an absolute path": _headers("filename", "/payouts.csv"),
    "a path upwards": _headers("filename", "../payouts.csv"),
    "a path for Windows": _headers("filename", "..\\payouts.csv"),
    "a drive": _headers("filename", "C:payouts.csv"),
    "a name that is hidden": _headers("filename", ".payouts.csv"),
    "a name in other letters": _headers("filename", "pаyouts.csv"),  # noqa: RUF001 - on purpose
    "a name in capitals": _headers("filename", "PAYOUTS.csv"),
    "two files of one name": _added("payouts.csv", b"payout_id\n"),
    "two files but for capitals": _added("Payouts.csv", b"payout_id\n"),
    "two manifests": _added(MANIFEST_FILE, b"{}", zipfile.ZIP_STORED),
    "a file more": _added("zz.csv", b"a\n"),
    "a folder": _added("more/", b"", zipfile.ZIP_STORED),
    "a file less": _dropped("payouts.csv"),
    "a file that is in no directory": _hidden,
    "a name that differs in the directory": _renamed,
    "flags: encrypted": _poked(LOCAL, 6, "<H", 1),
    "flags: of the directory": _poked(CENTRAL, 8, "<H", 0x800),
    "another version": _poked(LOCAL, 4, "<H", 45),
    "a checksum that differs": _poked(CENTRAL, 16, "<L", 7),
    "a size that differs": _poked(CENTRAL, 24, "<L", 7),
    "a size that is announced": _poked(LOCAL, 22, "<L", 0xFFFFFFFF),
    "a place that differs": _poked(CENTRAL, 42, "<L", 40),
    "another disk": _poked(END, 4, "<H", 1),
    "a length of a comment": _poked(END, 20, "<H", 1),
    "the order of the files": lambda pack: zipped_in(pack, reversed),
    "a transaction": replaced("transactions.csv", b"25.00", b"25.01"),
    "a row of the books": replaced("entries.csv", b",2500,", b",2501,"),
    "a row of the journal": replaced("journal.csv", b"25.00", b"52.00"),
    "a heading": replaced("payouts.csv", b"payout_id", b"payout id"),
    "the month": replaced(MANIFEST_FILE, b'"month": "2026-', b'"month": "2025-'),
    "a key twice in the manifest": replaced(
        MANIFEST_FILE, b' "month"', b' "month": "2026-01",\n "month"'
    ),
    "a space in the manifest": replaced(MANIFEST_FILE, b"{\n", b"{ \n"),
    "a manifest without end": _rewritten(MANIFEST_FILE, lambda _: b"[" * 100_000),
    "no signature": _rewritten(SIGNATURE_FILE, lambda _: b""),
    "another signature": _rewritten(SIGNATURE_FILE, lambda _: b"A" * 86 + b"==\n"),
    "a signature in other letters": _rewritten(SIGNATURE_FILE, lambda data: data[:-1]),
    "a stranger's": lambda pack: signed_by_a_stranger(files_of(pack)),
}


def zipped_in(pack: bytes, order: Callable[[list[str]], Any]) -> bytes:
    """The files in another order."""
    files = files_of(pack)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in order(list(files)):
            archive.writestr(zipfile.ZipInfo(name), files[name])
    return made.getvalue()


def random_edits(pack: bytes, others: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield that many changes of a pack: bits, bytes, pieces moved, cut and grown together."""
    pick, size = random.Random(seed), len(pack)
    made = 0
    while made < count:
        at, to = sorted(pick.randrange(size + 1) for _ in range(2))
        other = pick.choice(others)
        match pick.randrange(9):
            case 0 | 1:
                place = pick.randrange(size)
                edited = _with_byte(pack, place, pack[place] ^ 1 << pick.randrange(8))
            case 2:
                edited = _with_byte(pack, pick.randrange(size), pick.randrange(256))
            case 3:
                edited = pack[:at] + pick.randbytes(pick.randrange(1, 9)) + pack[at:]
            case 4:
                edited = pack[:at] + pack[min(to, at + pick.randrange(1, 40)) :]
            case 5:
                edited = pack[:at] + other[at:to] + pack[to:]
            case 6:
                edited = pack[:to] + pack[at:]
            case 7:
                place = pick.randrange(size - 4)
                number = struct.pack("<L", pick.choice((0, 1, 0xFFFF, 2**31, 2**32 - 1)))
                edited = pack[:place] + number + pack[place + 4 :]
            case _:
                edited = pack[:at] + bytes(to - at) + pack[to:]
        if edited != pack and edited not in others:
            made += 1
            yield edited


def _with_byte(pack: bytes, place: int, value: int) -> bytes:
    return pack[:place] + bytes([value]) + pack[place + 1 :]


async def makes_three_packs(room: Newsroom) -> list[bytes]:
    """Explain a cent, close November, reopen it, close it again and then December."""
    ada, boris = Actor("a" * 32, "Ada"), Actor("b" * 32, "Boris")
    odd = {"type": "tax_fund", "amount": -1, "currency": "usd"}
    cent = str(sandbox_balance.create_transaction(room.sandbox.account, odd)["id"])
    await daily_totals.import_and_refresh(room.ctx)
    proposal = Proposal(
        cent, "suspense", "unexplained", 1, "usd", reason="=1+1, says Stripe", seen=0
    )
    proposed = await corrections.propose(room.ctx, proposal, by=ada)
    await corrections.approve(room.ctx, proposed.correction.id, by=boris)
    first = await closes(room, date(2026, 11, 1))
    await period_close.reopen(room.ctx, date(2026, 11, 1), reason="A fee was missing", by="Ada")
    second = await closes(room, date(2026, 11, 1))
    await room.advances_time(datetime(2027, 1, 2, 12, tzinfo=UTC) - room.clock())
    await room.runs_until_idle()
    await daily_totals.import_and_refresh(room.ctx)
    return [first, second, await closes(room, date(2026, 12, 1))]


async def closes(room: Newsroom, month: date) -> bytes:
    """Finance closes a month. Gives its pack."""
    closing = await period_close.close(room.ctx, month, by="Ada")
    await close_pack.build(room.ctx, closing)
    return await taken(room, f"{month:%Y-%m}")


async def taken(room: Newsroom, month: str, closing: str | None = None) -> bytes:
    pack = io.BytesIO()
    await close_pack.download(room.ctx, month, pack, closing_id=closing)
    return pack.getvalue()
