"""Files that are taken away: sent only for an `ExportGrant`, and recorded in the audit log.

The entry is written when the file is ready, so a request that is refused before leaves none.
"""

import io
from collections.abc import AsyncIterator
from typing import IO

from litestar import Response
from litestar.response import Stream

from payments.web.staff.guards import ExportGrant

CHUNK_BYTES = 64 * 1024


async def attachment(
    grant: ExportGrant, content: bytes, name: str, *, media_type: str
) -> Response[bytes]:
    """Return a file that is held in memory."""
    await grant.record()
    return Response(content, media_type=media_type, headers=_headers(name))


async def stream_file(grant: ExportGrant, file: IO[bytes], name: str, media_type: str) -> Stream:
    """Return a file in chunks, from its beginning, and close it when it has been sent."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    await grant.record()

    async def read() -> AsyncIterator[bytes]:
        with file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    headers = {**_headers(name), "content-length": str(size)}
    return Stream(read(), media_type=media_type, headers=headers)


def _headers(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}
