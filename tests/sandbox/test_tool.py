"""The sandbox as a tool of its own: state file, seed, keys, reset, and what its control says."""

import ast
import asyncio
import dataclasses
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import stripe
from click.testing import CliRunner

from payments.cli.server import sandbox as sandbox_command
from payments.sandbox import Sandbox, control, faults, state_file
from payments.sandbox.account import API_VERSION
from payments.sandbox.simulations import SimulatedActions
from tests.support.shop import ManualWallClock, Shop, open_shop, paid

pytestmark = pytest.mark.anyio

KEY = "sk_test_tool"
ROOT = Path(__file__).parents[2]
DOCUMENTATION = (ROOT / "docs/sandbox.md").read_text()


def heed_interrupts() -> None:
    """Let a program be interrupted: a shell has those that it runs in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@asynccontextmanager
async def tool(*options: str, stop: signal.Signals = signal.SIGTERM) -> AsyncIterator[str]:
    """Run the sandbox in a process of its own, and yield its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "payments.sandbox", "--port", "0", "--key", KEY, *options,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        assert "http://" in line, line + (await process.stderr.read()).decode()
        yield "http://" + line.partition("http://")[2].split()[0].rstrip(".")
    finally:
        process.send_signal(stop)
        await asyncio.wait_for(process.wait(), 60)


async def call(
    url: str, method: str, path: str, key: str = KEY, **form: str
) -> tuple[int, dict[str, Any]]:  # Any: whatever that route answers
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.request(method, url + path, data=form or None) as answer,
    ):
        return answer.status, await answer.json()


async def ask(
    url: str, method: str, path: str, body: object = None
) -> tuple[int, dict[str, Any]]:  # Any: as above
    """Send JSON to a control route."""
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, f"{url}/_control{path}", json=body) as answer,
    ):
        return answer.status, await answer.json()


# ------------------------------------------------------------------ the program


async def test_a_state_file_is_resumed_with_everything(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "stripe.json"), "--seed", "7")
    async with tool(*state) as url:
        _, customer = await call(url, "POST", "/v1/customers", email="ann@shop.example")
        await ask(url, "POST", "/clock", {"advance_seconds": 86400})
        _, made = await ask(url, "POST", "/do/add_key", {"scopes": {"balance": "read"}})
        status, _ = await call(url, "GET", "/v1/balance", "sk_test_stranger")
        assert status == 401

    async with tool(*state, stop=signal.SIGINT) as url:
        status, again = await call(url, "GET", f"/v1/customers/{customer['id']}")
        assert (status, again["email"]) == (200, "ann@shop.example")
        _, clock = await ask(url, "GET", "/clock")
        assert 86399 < clock["offset_seconds"] < 86401
        assert (await call(url, "GET", "/v1/balance", made["done"]))[0] == 200
        assert (await call(url, "GET", "/v1/charges", made["done"]))[0] == 403
        _, other = await call(url, "POST", "/v1/customers")
        assert other["id"] != customer["id"]


async def test_a_killed_sandbox_had_saved_itself_and_its_file_has_one_owner(
    tmp_path: Path,
) -> None:
    state = ("--state", str(tmp_path / "stripe.json"))
    async with tool(*state, stop=signal.SIGKILL) as url:
        before = (tmp_path / "stripe.json").stat().st_mtime_ns
        _, customer = await call(url, "POST", "/v1/customers")
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "payments.sandbox", "--port", "0", *state,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, complaint = await asyncio.wait_for(second.communicate(), 60)
        assert (second.returncode, b"in use" in complaint) == (1, True)
        async with asyncio.timeout(60):
            while (tmp_path / "stripe.json").stat().st_mtime_ns == before:  # noqa: ASYNC110 - only the file tells
                await asyncio.sleep(state_file.SAVE_SECONDS)

    async with tool(*state) as url:
        assert (await call(url, "GET", f"/v1/customers/{customer['id']}"))[0] == 200


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("sk_live_real1234", "secret: "),
        ("rk_test_bare1234", "scopes: "),
        ("rk_test_odd12345:teapot_read", "no such resource: teapot"),
        ("rk_test_odd12345:charge_admin", "read or write"),
    ],
)
def test_a_key_that_cannot_be_ends_the_command_before_it_listens(key: str, words: str) -> None:
    result = CliRunner().invoke(sandbox_command, ["--key", key])
    assert result.exit_code == 2
    assert words in result.output


def test_a_state_file_in_no_folder_ends_the_command_with_a_sentence(tmp_path: Path) -> None:
    options = ["--port", "0", "--state", str(tmp_path / "nowhere" / "stripe.json")]
    result = CliRunner().invoke(sandbox_command, options)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "No such file or directory" in result.output


@pytest.mark.parametrize(
    "content", ["", "{}", '{"format": 0, "api_version": "2026-10-28.endive"}', "[1]",
                '{"format": 1, "api_version": "2020-01-01"}']
)  # fmt: skip
def test_a_file_of_another_version_or_kind_is_refused_and_stays(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "stripe.json"
    file.write_text(content)
    sandbox = Sandbox()
    with pytest.raises(state_file.StateFileError, match=r"stripe\.json"):
        sandbox.load(file)
    assert file.read_text() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "stripe.json"
    Sandbox(seed=1).save(file)
    with pytest.raises(TypeError):
        state_file.write(file, {"account": object()})
    sandbox = Sandbox(seed=2)
    sandbox.load(file)
    assert sandbox.account.store.seed == 1


async def test_a_delivery_nobody_has_acknowledged_is_sent_again_after_loading(
    shop: Shop, tmp_path: Path
) -> None:
    await shop.client.v1.webhook_endpoints.create_async(
        {"url": "http://shop.example/hooks", "enabled_events": ["customer.created"]}
    )
    await shop.client.v1.customers.create_async({})
    (taken,) = shop.sandbox.take_deliveries()
    shop.sandbox.save(tmp_path / "s.json")

    other = Sandbox(wall=shop.wall)
    other.load(tmp_path / "s.json")

    assert [each.event_id for each in other.take_deliveries()] == [taken.event_id]


# ------------------------------------------------------------------ seed and reset


async def everything_of(seed: int) -> str:
    """All that an account has after the same calls, apart from the port it listened on."""
    wall = ManualWallClock()
    async with open_shop(Sandbox(wall=wall, seed=seed), wall) as shop:
        subscription = await shop.subscribes(500)
        charge = await paid(shop, 1200)
        await shop.client.v1.refunds.create_async({"charge": charge.id, "amount": 100})
        shop.sandbox.dispute(charge.id, amount=50)
        shop.sandbox.fail_card(str(subscription.default_payment_method))
        await shop.advance(45)
        saved = msgspec.json.encode(shop.sandbox.account.dump()).decode()
        without_keys = re.sub(r'"idempotency_key":"[^"]+"', "", saved)  # the SDK chooses them
        return without_keys.replace(shop.sandbox.url, "")


async def test_the_same_calls_make_the_same_account_from_the_same_seed() -> None:
    first, again, other = [await everything_of(seed) for seed in (5, 5, 6)]
    assert first == again
    assert first != other


async def test_a_reset_leaves_keys_and_settings_and_counts_from_the_seed_again(
    wall: ManualWallClock,
) -> None:
    sandbox = Sandbox(wall=wall, seed=3, settings={"display_name": "Corner Shop"})
    key = sandbox.add_key(scopes={"customer": "write"})
    sandbox.reset()
    async with open_shop(sandbox, wall) as shop:
        first = (await shop.client.v1.customers.create_async({})).id
        await shop.subscribes()
        await shop.advance(40)
        sandbox.faults.add("*", "/", "status_500", 99)

        status, _ = await ask(shop.sandbox.url, "POST", "/reset")

        assert status == 200
        assert sandbox.clock.offset == timedelta(0)
        listed = await shop.client.v1.customers.list_async(options={"api_key": key})
        assert listed.data == []
        await ask(shop.sandbox.url, "POST", "/reset")
        assert (await shop.client.v1.customers.create_async({})).id == first
        account = await shop.client.v1.accounts.retrieve_current_async()
        assert account.settings is not None
        assert account.settings.dashboard.display_name == "Corner Shop"
        assert await shop.events() == ["customer.created"]

        await ask(shop.sandbox.url, "POST", "/reset", {"seed": 4})
        assert (await shop.client.v1.customers.create_async({})).id != first


# ------------------------------------------------------------------ control


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/clock", {}, "advance_seconds"),
        ("/clock", {"advance_seconds": "soon"}, "advance_seconds"),
        ("/clock", {"to": "2027-13-01T00:00:00Z"}, "to"),
        ("/clock", {"to": "2027-01-01T00:00:00"}, "to"),
        ("/clock", {"by": 5}, "by"),
        ("/faults", {"kind": "status_500"}, "path"),
        ("/faults", {"path": "/", "kind": "gremlins"}, "kind"),
        ("/faults", {"path": "/", "kind": "status_500", "share": 2}, "share"),
        ("/faults", {"path": "/", "kind": "status_500", "times": "2"}, "times"),
        ("/faults", {"path": "(", "kind": "status_500"}, "path"),
        ("/reset", {"seed": "new"}, "seed"),
        ("/save", {"path": "/nowhere/at/all"}, "path"),
        ("/deliveries/redeliver", {}, "event"),
        ("/do/add_key", {"scopes": {"teapot": "read"}}, "scopes"),
        ("/do/add_key", {"expires_at": "never"}, "expires_at"),
        ("/do/fail_card", {}, "payment_method_id"),
        ("/do/fail_card", {"payment_method_id": "pm_1", "colour": "red"}, "colour"),
        ("/do/hold_reserve", {"amount": 1.5}, "amount"),
        ("/do/set_unknown_values", {"object_id": "sub_1", "fields": {}}, "id"),
        ("/do/set_billing", {"retry_hours": 5}, "retry_hours"),
        ("/clock", [], None),
    ],
)
async def test_a_wrong_request_names_the_field(
    shop: Shop, path: str, body: object, field: str | None
) -> None:
    status, answer = await ask(shop.sandbox.url, "POST", path, body)
    assert (status, answer["error"]["field"]) == (400, field), answer
    assert answer["error"]["message"]


async def test_times_are_taken_in_iso_8601_and_other_values_as_they_are(shop: Shop) -> None:
    status, answer = await ask(
        shop.sandbox.url,
        "POST",
        "/do/add_key",
        {"scopes": {"balance": "read"}, "expires_at": "2026-11-04T00:00:00Z"},
    )
    assert status == 200
    _, listed = await ask(shop.sandbox.url, "GET", "/keys")
    (key,) = listed["keys"]
    assert key["secret"].endswith(answer["done"][-4:])
    assert key["secret"] != answer["done"]
    assert (key["scopes"], key["expires_at"]) == ({"balance": "read"}, 1793750400)
    fault = {"path": "/v1/", "kind": "status_503", "until": "2026-11-03T13:00:00+00:00"}
    assert (await ask(shop.sandbox.url, "POST", "/faults", fault))[0] == 200
    assert (await ask(shop.sandbox.url, "GET", "/faults"))[1]["faults"][0]["times"] is None
    await ask(shop.sandbox.url, "DELETE", "/faults")
    status, answer = await ask(
        shop.sandbox.url, "POST", "/do/update_account", {"support_url": "https://help.example"}
    )
    assert status == 200


async def test_everything_that_control_does_is_listed_by_itself_and_by_the_documentation(
    shop: Shop,
) -> None:
    status, overview = await ask(shop.sandbox.url, "GET", "")
    assert status == 200
    actions = {name for name in vars(SimulatedActions) if not name.startswith("_")}
    assert overview["actions"].keys() == actions | {"emit_event", "redeliver"}
    assert overview["actions"]["fail_card"]["arguments"].keys() == {"payment_method_id", "code"}
    assert all(action["does"] for action in overview["actions"].values())
    assert [name for name in overview["actions"] if f"`{name}`" not in DOCUMENTATION] == []
    routes = {path.partition(" ")[2] for path in overview["routes"]}
    assert [path for path in routes if f"`{path}" not in DOCUMENTATION] == []
    assert overview["actions"].keys() == control.SIMULATED_ACTIONS
    fields = {field.name for field in dataclasses.fields(faults.Fault) if field.name[0] != "_"}
    words = {*faults.FAULT_KINDS, *(fields - {"remaining"} | {"times"}), "ANY", "reads", "writes"}
    assert [word for word in sorted(words) if f"`{word}`" not in DOCUMENTATION] == []


# ------------------------------------------------------------------ for others


def test_the_documentation_names_all_that_the_stand_in_imports_and_was_tried_with() -> None:
    imported: set[str] = set()
    for file in (ROOT / "payments" / "sandbox").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    libraries = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    installed = re.search(r"^\$ pip install (.*)$", DOCUMENTATION, re.MULTILINE)
    assert installed is not None
    named = {each.partition("==")[0] for each in installed.group(1).split()}
    assert named == libraries - {"payments"}
    assert f"stripe=={stripe.VERSION} " in f"{installed.group(1)} "
    pins = dict(re.findall(r"^(\w+) := ([\d.]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for tried in (
        f"stripe-python {stripe.VERSION}",
        f"stripe-node {pins['STRIPE_NODE']}",
        f"command line client {pins['STRIPE_CLI']}",
        f"dj-stripe {pins['DJ_STRIPE']}",
        f"stripe-sync-engine {pins['SYNC_ENGINE']}",
        f"up to {API_VERSION}",
    ):
        assert tried in DOCUMENTATION


async def test_a_later_version_of_an_sdk_is_refused_until_it_is_listed_ours(shop: Shop) -> None:
    later: stripe.RequestOptions = {"stripe_version": "2027-01-27.fjord"}
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.customers.create_async({}, later)
    assert await shop.client.v1.customers.create_async({}, {"stripe_version": API_VERSION})


async def test_the_example_of_the_documentation_does_what_it_says(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", DOCUMENTATION, re.DOTALL)
    expected = re.search(r"It prints `(.*?)`", DOCUMENTATION)
    assert example is not None
    assert expected is not None
    assert len(example.group(1).splitlines()) <= 50
    (tmp_path / "shop.py").write_text(example.group(1))
    async with tool("--key", "sk_test_mine") as url:
        shop = await asyncio.create_subprocess_exec(
            sys.executable, "shop.py", url, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, complaint = await asyncio.wait_for(shop.communicate(), 60)
        assert printed.decode().strip() == expected.group(1), complaint.decode()
        assert (await ask(url, "GET", "/health"))[1] == {"status": "ok", "problems": []}
