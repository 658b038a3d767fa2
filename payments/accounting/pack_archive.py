"""Pack archive: the zip file of a pack, of which there is one form only.

The files in the order of their names, compressed; then the manifest and its signature as they are;
then the directory. No header holds anything but what the file itself makes it be, and nothing
stands before, between or after them. So a pack that is read is written once more and compared, and
no two programs can find different files in it.
"""

import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from payments.accounting.pack_manifest import MANIFEST_FILE, SIGNATURE_FILE, PackedFiles

CHUNK_BYTES = 256 * 1024
MAX_PACK_BYTES = 1024**3  # what a column of the database holds
MAX_FILES = 1000
MAX_LINE_LENGTH = 1024**2
MAX_UNPACKED_BYTES = 4 * 1024**3 - 1  # above it a zip file needs headers of another form
FILE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", re.ASCII)
LAST_FILES = (MANIFEST_FILE, SIGNATURE_FILE)

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_VERSION, _UNIX, _NO_FLAGS, _STORED, _DEFLATED = 20, 3 << 8, 0, 0, 8
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01: the bytes do not depend on when they are made
_MODE = 0o100644 << 16


class BrokenArchive(ValueError):
    """These bytes are no archive that `ArchiveWriter` makes. The message says what is not."""


class Member(NamedTuple):
    """A file in an archive: its checksum, its sizes and where it begins."""

    name: str
    crc: int
    packed_size: int
    size: int
    offset: int

    @property
    def method(self) -> int:
        """How the file is compressed, which its name decides."""
        return _STORED if self.name in LAST_FILES else _DEFLATED

    def local_header(self) -> bytes:
        """Return the bytes before the file."""
        name = self.name.encode()
        return _LOCAL.pack(
            _LOCAL_MARK, _VERSION, _NO_FLAGS, self.method, _TIME, _DATE, self.crc,
            self.packed_size, self.size, len(name), 0,
        ) + name  # fmt: skip

    def directory_entry(self) -> bytes:
        """Return the bytes of the file in the directory."""
        name = self.name.encode()
        return _CENTRAL.pack(
            _CENTRAL_MARK, _UNIX | _VERSION, _VERSION, _NO_FLAGS, self.method, _TIME, _DATE,
            self.crc, self.packed_size, self.size, len(name), 0, 0, 0, 0, _MODE, self.offset,
        ) + name  # fmt: skip


class ArchiveWriter:
    """Writes an archive: each file in order, then `finish`."""

    def __init__(self, out: io.BytesIO) -> None:
        self.out = out
        self.members: list[Member] = []

    def add(self, name: str, source: BinaryIO) -> None:
        """Add a file. Raises BrokenArchive where its name or place is not of an archive of ours."""
        offset, header_size = self.out.tell(), _LOCAL.size + len(name)
        self.out.seek(header_size, io.SEEK_CUR)
        is_stored, crc, size = name in LAST_FILES, 0, 0
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        while chunk := source.read(CHUNK_BYTES):
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            self.out.write(chunk if is_stored else packer.compress(chunk))
        if not is_stored:
            self.out.write(packer.flush())
        end = self.out.tell()
        member = Member(name, crc, end - offset - header_size, size, offset)
        _check_place(member, self.members)
        self.out.seek(offset)
        self.out.write(member.local_header())
        self.out.seek(end)
        self.members.append(member)

    def packed_files(self) -> PackedFiles:
        """Return what the manifest says of the bytes written so far."""
        with self.out.getbuffer() as written:
            return PackedFiles(len(written), hashlib.sha256(written).hexdigest())

    def finish(self) -> None:
        """Write the directory. Raises BrokenArchive where the last files are missing."""
        self.out.write(_directory(self.members, self.out.tell()))


@dataclass(frozen=True)
class PackArchive:
    """An archive that was read and found to be of the one form. `digests` are SHA-256, in hex."""

    data: bytes
    digests: Mapping[str, str]
    packed_files: PackedFiles

    def read(self, name: str) -> bytes:
        """Return a file."""
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            return archive.read(name)

    def lines(self, name: str) -> Iterator[str]:
        """Yield the lines of a file as they are. Raises KeyError where there is none, and
        ValueError where they are no text or longer than any line of ours.
        """
        with (
            zipfile.ZipFile(io.BytesIO(self.data)) as archive,
            io.TextIOWrapper(archive.open(name), "utf-8", newline="") as file,
        ):
            while line := file.readline(MAX_LINE_LENGTH):
                if len(line) == MAX_LINE_LENGTH:
                    raise ValueError(f"{name} has a line without an end")
                yield line


def read_archive(data: bytes) -> PackArchive:
    """Read an archive, unpack every file once, and compare every byte with what it has to be.

    Raises BrokenArchive.
    """
    members: list[Member] = []
    digests, at, view = {}, 0, memoryview(data)
    while data[at : at + 4] == _LOCAL_MARK:
        member, begin = _read_header(data, at)
        _check_place(member, members)
        at = begin + member.packed_size
        if at > len(data):
            raise BrokenArchive(f"{member.name} is cut off")
        digests[member.name] = _check_file(member, view[begin:at])
        members.append(member)
    if not members:
        raise BrokenArchive("it does not begin as a zip file does")
    if view[at:] != _directory(members, at):
        raise BrokenArchive("what follows its files is not the directory of these files alone")
    begin = members[-len(LAST_FILES)].offset
    packed = PackedFiles(begin, hashlib.sha256(view[:begin]).hexdigest())
    return PackArchive(data, digests, packed)


def _read_header(data: bytes, at: int) -> tuple[Member, int]:
    """Return the file whose header is there, and where the file itself begins."""
    if len(data) < at + _LOCAL.size:
        raise BrokenArchive("a header is cut off")
    *_, crc, packed_size, size, name_size, _ = _LOCAL.unpack_from(data, at)
    begin = at + _LOCAL.size + name_size
    name = data[at + _LOCAL.size : begin].decode("ascii", "replace")
    if not FILE_NAME.fullmatch(name):
        raise BrokenArchive("a file has a name that no file of a pack has")
    member = Member(name, crc, packed_size, size, at)
    if data[at:begin] != member.local_header():
        raise BrokenArchive(f"the header of {name} is not as it is written here")
    return member, begin


def _check_place(member: Member, before: list[Member]) -> None:
    """Refuse a name that is none, that is there already, or that is not next in order."""
    if len(before) == MAX_FILES:
        raise BrokenArchive(f"it has more than {MAX_FILES} files")
    names = [one.name for one in before]
    if not FILE_NAME.fullmatch(member.name):
        raise BrokenArchive(f"{member.name!r} is no name of a file in a pack")
    if member.name.casefold() in {name.casefold() for name in names}:
        raise BrokenArchive(f"{member.name} is in it twice")
    if names and _place(member.name) < _place(names[-1]):
        raise BrokenArchive(f"{member.name} is not in its place")
    if member.size + sum(one.size for one in before) > MAX_UNPACKED_BYTES:
        raise BrokenArchive("it unfolds to more than any pack")


def _place(name: str) -> tuple[int, str]:
    return (LAST_FILES.index(name) + 1 if name in LAST_FILES else 0), name


def _check_file(member: Member, packed: memoryview) -> str:
    """Unpack a file, no further than its header announces, and return its digest."""
    digest, crc, size = hashlib.sha256(), 0, 0
    chunks = _inflate(packed) if member.method == _DEFLATED else iter([packed])
    try:
        for chunk in chunks:
            digest.update(chunk)
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            if size > member.size:
                break
    except zlib.error:
        raise BrokenArchive(f"{member.name} cannot be unpacked") from None
    if (crc, size) != (member.crc, member.size):
        raise BrokenArchive(f"{member.name} is not the file that its header announces")
    return digest.hexdigest()


def _inflate(packed: memoryview) -> Iterator[bytes]:
    """Yield what is compressed there. Raises zlib.error unless it ends where the bytes end."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    for at in range(0, len(packed), CHUNK_BYTES):
        pending: bytes | memoryview = packed[at : at + CHUNK_BYTES]
        if stream.eof:
            break
        while True:
            chunk = stream.decompress(pending, CHUNK_BYTES)
            pending = stream.unconsumed_tail
            yield chunk
            if not pending and len(chunk) < CHUNK_BYTES:
                break
    else:
        if stream.eof and not stream.unused_data:
            return
    raise zlib.error("cut off, or followed by something else")


def _directory(members: list[Member], offset: int) -> bytes:
    """Return the bytes after the files, which begin at `offset`. Raises BrokenArchive."""
    if tuple(one.name for one in members[-2:]) != LAST_FILES:
        raise BrokenArchive(f"it does not end in {MANIFEST_FILE} and {SIGNATURE_FILE}")
    entries = b"".join(member.directory_entry() for member in members)
    return entries + _END.pack(_END_MARK, 0, 0, len(members), len(members), len(entries), offset, 0)
