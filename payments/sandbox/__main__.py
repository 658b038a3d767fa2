"""The stand-in for Stripe as a program: `python -m payments.sandbox`, or `payments sandbox`.

It needs nothing but what this package imports: aiohttp, babel, jinja2, msgspec and Stripe's SDK.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from payments.sandbox.api_keys import add_from_option
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.server import RunOptions, run_forever
from payments.sandbox.state_file import StateFileError


def main(arguments: Sequence[str] | None = None, name: str = "python -m payments.sandbox") -> int:
    """Serve a sandbox until it is interrupted. Returns the exit status.

    Raises SystemExit for arguments that cannot be, and when help is asked for.
    """
    parser = _parser(name)
    options = parser.parse_args(arguments)
    account = Sandbox().account
    for key in options.key:
        try:
            add_from_option(account, key)
        except ValueError as error:
            parser.error(f"--key: {error}")
    try:
        asyncio.run(_run(options))
    except (StateFileError, OSError) as error:  # OSError: no such folder, a port in use
        _say(f"Error: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("Stopped.")
    return 0


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(name, description="Run the stand-in for Stripe by itself.")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; %(default)s")
    parser.add_argument("--port", default=12111, type=int, help="%(default)s; 0 is a free one")
    parser.add_argument(
        "--key", action="append", default=[], metavar="SECRET[:PERMISSION,…]",
        help="take only these API keys: sk_test_… or rk_test_…:charge_read,invoice_write",
    )  # fmt: skip
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="save everything in this file, and resume it"
    )
    parser.add_argument("--seed", type=int, help="make the same ids for the same calls")
    return parser


async def _run(options: argparse.Namespace) -> None:
    settings = RunOptions(options.key, options.state, options.seed)
    running = asyncio.create_task(run_forever(options.port, options.host, _say_address, settings))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await running


async def _say_address(url: str) -> None:
    _say(f"A stand-in for Stripe on {url}. No real money moves.")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
