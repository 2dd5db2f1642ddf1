"""A secret wherever one can be, and vendors that repeat what they were sent: what `test_secrets.py` listens to.

Every secret is a word that stands nowhere else, so that finding it in an output is finding a leak.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import md5
from importlib import import_module
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import ClientSession, web

from tests.bridge_under_test import serve
from tests.broker import HOST
from tests.process import BRIDGE, Process, running
from tests.receivers import open_receiver
from tests.waiting import PATIENCE, wait_until
from tests.websocket_broker import websocket_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiohttp.typedefs import Handler

    from tests.broker import Broker
    from tests.recording import Message, Recording


BACKENDS = {
    "hq": "ums",
    "branch": "smart_gateway",
    "office": "sangfor_ac",
    "cabinets": "omstation",
    "things": "thingscloud",
    "admins": "thingscloud",
}
PASSWORD = "canary-omstation-0a11"
CONFIGURED = {
    "mqtt password": "canary-mqtt-1f0c",
    "included header": "canary-included-4c55",
    **{f"push secret of {name}": f"canary-push-{name}-2a7d" for name in BACKENDS},
    **{f"header of {name}": f"canary-header-{name}-3b91" for name in BACKENDS},
    "key of the AC": "canary-ac-key-51b0",
    "access_key": "canary-access-key-62c1",
    "secret_key": "canary-secret-key-73d2",
    "account": "canary-account-84e3",
    "password of the account": "canary-password-95f4",
    "password of omstation": PASSWORD,
    "token of the asset system": "canary-asset-token-1c5e",
    "token of the asset server": "canary-asset-server-2d6f",
    "view key": "canary-view-key-3a70",
    "view secret": "canary-view-secret-4b81",
    "password of a notification": "canary-notify-password-6a01",
    "token of a notification": "canary-notify-token-6a02",
    "header of a notification": "canary-notify-header-6a03",
    "and what is sent for it": md5(PASSWORD.encode(), usedforsecurity=False).hexdigest(),
}
"""Secrets in the operator's configuration."""
SHOWN = {
    "passwd": "canary-passwd-6e83",
    "wifiKey": "canary-wifikey-70aa",
    "authCode": "canary-authcode-7bb1",
    "token of a film": "canary-film-8cc2",
    "view_token": "canary-view-token-9dd3",
    "an attribute": "canary-attribute-aee4",
    "pass": "canary-pass-5d20",
    "pass of an alarm": "canary-pass-of-alarm-5d21",
    "unreadable": "canary-unreadable-8f14",
    "unreadable webhook": "canary-unreadable-webhook-8f15",
    "page": "canary-page-9c3e",
}
"""Secrets that vendors send."""
ASKED = {
    "certificate": "canary-certificate-bff5",
    "project key": "canary-project-key-bff6",
    "email": "canary-email-c006@example.com",
    "mobile": "canary-mobile-d117",
    "customer": "canary-customer-e228",
    "toUser": "canary-driver-f339",
    "phoneNum": "canary-phone-044a",
}
"""Secrets that the response to a request may have, and nothing else."""
TOLD = {
    "set": "canary-set-a1b2",
    "set key": "canary-setkey-b6d7",
    "password of a customer": "canary-customer-password-155b",
    "changed password": "canary-changed-password-266c",
    "checked password": "canary-checked-password-377d",
    "checked account's password": "canary-ums-password-488e",
}
"""Secrets in commands and requests."""

SECRET_NAMES = frozenset(
    ("authorization", "x-key", "token", "password", "access_key", "secret_key", "account", "access_token")
)
_MEMBERS = {"ums": "status", "smart_gateway": "msg", "thingscloud": "message"}
_LOGINS = ("login/userLogin", "access_token", "admin_login")


class Echo(StrEnum):
    """Ways in which a vendor repeats a request instead of responding to it."""

    NONE = "none"
    STATUS = "status"  # HTTP 500 and a text
    GARBAGE = "garbage"  # HTTP 200 and a page
    REFUSAL = "refusal"  # its own no
    DENIAL = "denial"  # it lets nobody in any more, the login neither


@dataclass(slots=True)
class Vendor:
    """One simulator, its requests and responses so far, and the way in which it repeats secrets."""

    platform: str
    simulator: Any
    heard: list[str] = field(default_factory=list)
    echo: Echo = Echo.NONE
    echoed: set[str] = field(default_factory=set)
    _turn: Iterator[int] = field(default_factory=count)

    @web.middleware
    async def overhear(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Between the bridge and the simulator."""
        said = f"{request.path_qs} {dict(request.headers)} {await request.text()}"
        response = await (handler(request) if self.echo is Echo.NONE else self._repeat(request))
        body = response.body if isinstance(response, web.Response) else b""
        self.heard.append(f"{said}\n{bytes(body).decode() if isinstance(body, bytes) else ''}")
        return response

    async def _repeat(self, request: web.Request) -> web.Response:
        raw = await request.text()
        sent = {**request.headers, **request.query, **(json.loads(raw) if raw else {})}
        secret = [str(value).removeprefix("Bearer ") for name, value in sent.items() if name.lower() in SECRET_NAMES]
        turn = next(self._turn) % max(len(secret), 1)
        secret = secret[turn:] + secret[:turn]  # of a page only the beginning is told, so each is first one day
        self.echoed.update(secret)
        words = " ".join(secret)
        if self.echo is Echo.STATUS:
            return web.Response(status=500, text=words)
        if self.echo is Echo.GARBAGE:
            return web.Response(text=f"<html>{words} passwd: '{SHOWN['page']}'", content_type="text/html")
        login = request.path.endswith(_LOGINS)
        return web.json_response(self._refusal(f"no to {words}", denied=self.echo is Echo.DENIAL, login=login))

    def _refusal(self, words: str, *, denied: bool, login: bool) -> dict[str, Any]:
        if self.platform == "thingscloud":
            return {"result": False, "errcode": 7, "message": f"token: {words}" if denied and not login else words}
        code = (103 if login else 104) if denied and self.platform == "omstation" else 7
        return {"code": code, _MEMBERS.get(self.platform, "message"): words}

    @property
    def traffic(self) -> str:
        return "\n".join(self.heard)


@asynccontextmanager
async def vendors() -> AsyncIterator[tuple[dict[str, Vendor], dict[str, str]]]:
    """A simulator for each backend, and their URLs; that of ThingsCloud's MQTT broker is "messages of things"."""
    async with AsyncExitStack() as stack:
        found, urls = {}, {}
        for name, platform in BACKENDS.items():
            module = import_module(f"fleet2mqtt.simulators.{platform}.app")
            app = module.create(devices=2)
            found[name] = vendor = Vendor(platform, app[module.SIMULATOR])
            app.middlewares.insert(0, vendor.overhear)
            urls[name] = await serve(stack, app)
        folder = Path(stack.enter_context(TemporaryDirectory()))
        users = {CONFIGURED["view key"]: CONFIGURED["view secret"]}
        _, urls["messages of things"] = await stack.enter_async_context(websocket_broker(folder, users=users))
        pager = await stack.enter_async_context(open_receiver())
        pager.statuses = [403] * 10_000
        pager.reply = " ".join(CONFIGURED[f"{what} of a notification"] for what in ("password", "token", "header"))
        urls["pager"] = pager.url
        _plant(found)
        yield found, urls


def _plant(found: dict[str, Vendor]) -> None:
    """Let the vendors know the secrets that they are asked with, and have some of their own."""
    found["office"].simulator.key = CONFIGURED["key of the AC"]
    found["cabinets"].simulator.accounts = {"admin": PASSWORD}
    found["cabinets"].simulator.asset_token = CONFIGURED["token of the asset system"]
    things, admins = found["things"].simulator, found["admins"].simulator
    things.access_key, things.secret_key = CONFIGURED["access_key"], CONFIGURED["secret_key"]
    admins.admin["account"], admins.password = CONFIGURED["account"], CONFIGURED["password of the account"]
    for sn, gateway in found["branch"].simulator.gateways.items():
        for key, channel in gateway["channel"].items():
            if "wifiKey" in channel:
                found["branch"].simulator.set_channel(sn, key, wifiKey=SHOWN["wifiKey"])
    found["branch"].simulator.set_network(SN, "hotspot", passwd=SHOWN["passwd"])
    cabinets = found["cabinets"].simulator
    for row in (*cabinets.collections.values(), *cabinets.transfers.values()):
        row |= {"authCode": SHOWN["authCode"], "toUser": ASKED["toUser"], "phoneNum": ASKED["phoneNum"]}
    for row in next(iter(cabinets.lattices.values())):
        row["fileUrl"] = f"https://films.example.com/{row['id']}.mp4?token={SHOWN['token of a film']}"
    things.project_key = ASKED["project key"]
    for device in things.devices.values():
        device.view_token, device.access_token = SHOWN["view_token"], ASKED["certificate"]
        things.report(device.id, {"password": SHOWN["an attribute"], "harmless": 1}, push=False)
    for customer in things.customers.values():
        customer |= {"email": ASKED["email"], "mobile": ASKED["mobile"], "name": ASKED["customer"]}


SN = "172DE6AC9832DE"


def learnt(found: dict[str, Vendor]) -> dict[str, str]:
    """The secrets that simulators made up: tokens, and the administrator's code."""
    cabinets = found["cabinets"]
    tokens = [
        *cabinets.simulator.tokens,
        *found["things"].simulator.tokens,
        *found["admins"].simulator.tokens,
        *(said.partition('"adminCode": "')[2].partition('"')[0] for said in cabinets.heard if '"adminCode"' in said),
    ]
    assert len(tokens) >= 4
    return {f"made up {number}": token for number, token in enumerate(tokens)}


def configuration(folder: Path, broker: Broker, urls: dict[str, str]) -> str:
    """Write a file with a secret wherever one can be; return its path."""
    own: dict[str, dict[str, Any]] = {
        "hq": {"allow": ["login"]},
        "office": {"key": CONFIGURED["key of the AC"], "spacing": 0},
        "cabinets": {
            "username": "admin",
            "password": PASSWORD,
            "allow": list(ACTIONS["cabinets"]),
            "assets": {
                "url": urls["cabinets"],
                "token": CONFIGURED["token of the asset system"],
                "server_token": CONFIGURED["token of the asset server"],
            },
        },
        "things": {
            **{name: CONFIGURED[name] for name in ("access_key", "secret_key")},
            "allow": list(ACTIONS["things"]),
            "device_api": {"project_key": ASKED["project key"]},
            "subscribe": {
                "url": urls["messages of things"],
                "key": CONFIGURED["view key"],
                "secret": CONFIGURED["view secret"],
                "topics": {"online": "+/online", "alarm": "+/alarm"},
            },
        },
        "admins": {"account": CONFIGURED["account"], "password": CONFIGURED["password of the account"]},
    }
    backends = {}
    for name, platform in BACKENDS.items():
        cloud = {"app_id": "app-demo", "rate": 1000} if platform == "thingscloud" else {}
        headers = {"X-Key": CONFIGURED[f"header of {name}"]}
        headers |= {"Authorization": "INCLUDED"} if name in {"hq", "branch"} else {}
        backends[name] = {
            "platform": platform,
            "url": urls[name],
            "headers": headers,
            "push": {"secret": CONFIGURED[f"push secret of {name}"]},
            **cloud,
            **own.get(name, {}),
        }
    pager = urls["pager"].replace("//", f"//bridge:{CONFIGURED['password of a notification']}@")
    pager = pager.replace("hook", CONFIGURED["token of a notification"])
    pager += f"?+X-Key={CONFIGURED['header of a notification']}"
    whole = {
        "notify": {"pager": {"url": pager}, "deaf": {"url": pager.replace("json:", "jsons:")}},
        "mqtt": {"host": HOST, "port": broker.port, "username": "fleet", "password": CONFIGURED["mqtt password"]},
        "data_dir": "data",
        "push": {"host": HOST, "port": 0},
        "web": {"host": HOST, "port": 0},
        "backends": backends,
    }
    (folder / "secrets.yaml").write_text(yaml.safe_dump({"included": f"Bearer {CONFIGURED['included header']}"}))
    file = folder / "fleet2mqtt.yaml"
    file.write_text(yaml.safe_dump(whole).replace("INCLUDED", "!secret included"))
    return str(file)


ACTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "cabinets": {"authorisation_list": {}, "authorisation_transfer_list": {}},
    "things": {
        "customers": {},
        "device_certificate": {"device_id": "DEVICE"},
        "device_customers": {"device_id": "DEVICE"},
        "customer_get": {"customer_id": "CUSTOMER"},
        "customer_create": {"name": "n", "account": "a", "password": TOLD["password of a customer"]},
        "customer_password_set": {"customer_id": "CUSTOMER", "password": TOLD["changed password"]},
        "customer_auth": {"account": "nobody", "password": TOLD["checked password"]},
    },
    "hq": {"login": {"account": "nobody", "password": TOLD["checked account's password"]}},
}
"""Actions that tell or take what is for one person only."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """A running bridge with everything around it, and whatever has come out of it."""

    broker: Broker
    seen: Recording
    process: Process
    vendors: dict[str, Vendor]
    web: str
    push: str
    pages: list[str] = field(default_factory=list)
    mine: set[str] = field(default_factory=set)
    """Topics that are published here."""
    confidential: set[str] = field(default_factory=set)
    """Topics of answers that only whoever asked is to read."""
    _numbers: Iterator[int] = field(default_factory=count)

    async def tell(self, topic: str, payload: Any) -> None:
        self.mine.add(topic)
        await self.broker.publish(topic, payload)

    async def ask(self, where: str, name: str, /, **arguments: Any) -> dict[str, Any]:
        """A request and its whole answer; `where` is `bridge` or `backend/<name>`."""
        transaction = f"t{next(self._numbers)}"
        await self.tell(f"fleet2mqtt/{where}/request/{name}", {**arguments, "transaction": transaction})
        topic = f"fleet2mqtt/{where}/response/{name}"
        told = await self.hears(lambda m: m.topic == topic and m.json.get("transaction") == transaction)
        found: dict[str, Any] = told.json
        return found

    async def hears(self, match: Any) -> Message:
        return await self.seen.wait(match, PATIENCE)

    async def post(self, backend: str, kind: str, body: Any, secret: str | None = None) -> int:
        """A push; its answer is kept."""
        secret = secret or CONFIGURED[f"push secret of {backend}"]
        data = body if isinstance(body, str) else json.dumps(body)
        async with (
            ClientSession() as session,
            session.post(f"{self.push}/push/{backend}/{secret}/{kind}", data=data) as response,
        ):
            self.pages.append(f"{response.headers} {await response.text()}")
            return response.status

    async def look(self) -> None:
        """Everything that people and probes see, and what is there by no other method."""
        pages = [
            "",
            "alarms",
            "device",
            "api/status",
            "api/alarms",
            "api/alarms?state=past",
            "metrics",
            "healthz",
            "readyz",
        ]
        async with ClientSession() as session, session.get(f"{self.web}/api/status") as response:
            status = await response.json()
        ids = [row["id"] for row in status["devices"]["rows"]] + [each["name"] for each in status["backends"]]
        pages += [f"api/device?id={id_}" for id_ in (*ids, "bridge", "none")]
        asked = [("GET", f"{self.web}/{page}") for page in (*pages, "none")]
        asked += [("GET", f"{self.push}/push/hq/{CONFIGURED['push secret of hq']}/event"), ("GET", self.push)]
        async with ClientSession() as session:
            for method, url in asked:
                async with session.request(method, url) as response:
                    self.pages.append(f"{response.headers} {await response.text()}")

    async def refresh(self) -> dict[str, dict[str, Any]]:
        """Poll everything; return the outcome of each source of each backend."""
        answer = await self.ask("bridge", "refresh")
        found: dict[str, dict[str, Any]] = answer["data"]["backends"]
        return found


@asynccontextmanager
async def scene(broker: Broker, path: str, found: dict[str, Vendor]) -> AsyncIterator[Scene]:
    """The bridge as a process that logs all it can, once every backend is available."""
    async with broker.record("#") as seen, running(*BRIDGE, "run", "-c", path, "--log-level", "debug") as process:
        web = (await process.says("web listens on", PATIENCE)).split()[-1]
        push = (await process.says("push listens on", PATIENCE)).split()[-1]
        here = Scene(
            broker=broker, seen=seen, process=process, vendors=found, web=f"http://{web}", push=f"http://{push}"
        )
        for name in BACKENDS:
            topic = f"fleet2mqtt/backend/{name}/availability"
            await wait_until(
                lambda topic=topic: (m := seen.latest(topic)) and m.payload == b"online",  # type: ignore[misc]
                f"{name} online",
                PATIENCE,
            )
        yield here


def scattered(texts: dict[str, str], outputs: dict[str, str]) -> list[str]:
    """Return each pair of a text and an output that contains it, as `name in output`."""
    return [f"{name} in {where}" for where, output in outputs.items() for name, text in texts.items() if text in output]


async def ended(here: Scene) -> int:
    """Stop the bridge; return its exit code."""
    here.process.process.terminate()
    return await asyncio.wait_for(here.process.process.wait(), PATIENCE)
