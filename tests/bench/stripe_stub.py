"""A Stripe that takes no time: every POST creates an open Checkout Session."""

import sys
from pathlib import Path
from uuid import uuid4

from aiohttp import web

SESSION = Path(__file__).with_name("checkout_session.json").read_text()


async def create(request: web.Request) -> web.Response:
    """Answer with an open session of a new id."""
    await request.read()
    text = SESSION.replace("{n}", uuid4().hex)
    return web.Response(text=text, content_type="application/json")


if __name__ == "__main__":
    stub = web.Application()
    stub.router.add_post("/v1/checkout/sessions", create)
    web.run_app(stub, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
