"""The widget's file, as its build left it, and how a script is sent to another site's page.

`make widget` builds the file from `widget/donate-form.js` and names it by its hash. A file that was
released stays for good: articles hold its address with its hash (Subresource Integrity), and go on
working when there is a newer one.
"""

import base64
import functools
import gzip
import hashlib
import re
from pathlib import Path

import msgspec
from litestar import Response

from payments.web.forms import AnyRequest
from payments.web.rendering import WEB_DIR

FOLDER = WEB_DIR / "widget"
SOURCE = FOLDER / "donate-form.js"
NAME_LENGTH = 16  # hexadecimal digits of the hash
CROSS_ORIGIN_HEADERS = {
    "access-control-allow-origin": "*",  # a script with a hash is fetched across origins
    "cross-origin-resource-policy": "cross-origin",
}


class Built(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the last build made: the name of the file, and the SHA-256 of the source it is of."""

    current: str
    source: str


@functools.cache
def built() -> Built:
    """Return what the last build made."""
    return msgspec.json.decode((FOLDER / "built.json").read_bytes(), type=Built)


@functools.cache
def names() -> frozenset[str]:
    """Return the names of all files that were ever built and released."""
    return frozenset(
        file.stem for file in FOLDER.glob("*.js") if re.fullmatch(r"[0-9a-f]{16}", file.stem)
    )


@functools.cache
def script(name: str) -> bytes:
    """Return a built file. Raises KeyError for a name that is not one of `names`."""
    if name not in names():
        raise KeyError(name)
    return (FOLDER / f"{name}.js").read_bytes()


def integrity(name: str) -> str:
    """Return the hash of a built file, as an `integrity` attribute has it."""
    return f"sha384-{base64.b64encode(hashlib.sha384(script(name)).digest()).decode()}"


def script_response(request: AnyRequest, name: str, cache_control: str) -> Response[bytes]:
    """Return a built file in the smallest form that the browser takes."""
    brotli = Path(FOLDER / f"{name}.js.br")
    return compressed_response(
        request, script(name), cache_control, brotli=_read(brotli) if brotli.exists() else None
    )


def compressed_response(
    request: AnyRequest,
    body: bytes,
    cache_control: str,
    *,
    brotli: bytes | None = None,
) -> Response[bytes]:
    """Return a script compressed as the browser asks, or 304 where it has this one already."""
    encoding = _accepted_encoding(request.headers.get("accept-encoding", ""), brotli is not None)
    etag = f'"{hashlib.sha256(body).hexdigest()[:NAME_LENGTH]}-{encoding}"'
    headers = {
        **CROSS_ORIGIN_HEADERS,
        "cache-control": cache_control,
        "vary": "accept-encoding",
        "etag": etag,
    }
    if etag in (one.strip() for one in request.headers.get("if-none-match", "").split(",")):
        return Response(b"", status_code=304, headers=headers, media_type="text/javascript")
    sent = {"br": brotli or b"", "gzip": _gzipped(body), "identity": body}[encoding]
    if encoding != "identity":
        headers["content-encoding"] = encoding
    return Response(sent, media_type="text/javascript", headers=headers)


@functools.cache
def _read(file: Path) -> bytes:
    return file.read_bytes()


@functools.lru_cache(maxsize=128)
def _gzipped(body: bytes) -> bytes:
    return gzip.compress(body, 9, mtime=0)


def _accepted_encoding(header: str, has_brotli: bool) -> str:
    """Return the best encoding that an Accept-Encoding header takes: br, gzip or identity."""
    accepted = set()
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight):
            accepted.add(coding.strip())
    if has_brotli and "br" in accepted:
        return "br"
    return "gzip" if accepted & {"gzip", "x-gzip"} else "identity"
