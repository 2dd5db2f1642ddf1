"""The state of a simulated ThingsCloud project, and the methods that change it. The HTTP side is `app`."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultInjector
from fleet2mqtt.simulators.thingscloud.attribute_store import AttributeStore
from fleet2mqtt.simulators.thingscloud.broker import AppBroker
from fleet2mqtt.simulators.thingscloud.data import LEVEL_TEXTS, Attribute, Device, make_id, now_ms
from fleet2mqtt.simulators.thingscloud.push import Pusher, alarm_body, device_summary
from fleet2mqtt.simulators.thingscloud.quirks import Quirks
from fleet2mqtt.simulators.thingscloud.requests import Push, Sent, Token, fits

_MAX_KEPT = 20_000
_PROJECT = {"id": "p8d2k5m7qx", "name": "示范项目", "descr": "fleet2mqtt"}
_ADMIN = {"id": "a4w9r2hjkd", "account": "admin", "name": "管理员", "email": "admin@example.com"}


@dataclass(slots=True, kw_only=True)
class Simulator:
    """The vendor's state as plain data, and the methods that change it.

    Devices are named by their id; an unknown one raises `KeyError`. What the document leaves open is a
    field here or a switch of `quirks`. Alarm logs are newest last.
    """

    fault_injector: FaultInjector = field(default_factory=FaultInjector)
    quirks: Quirks
    pusher: Pusher
    app_broker: AppBroker | None = None  # of the application-side MQTT
    rng: Random
    attribute_store: AttributeStore
    project: dict[str, Any] = field(default_factory=lambda: _PROJECT | {"tags": {}})
    types: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)
    customers: dict[str, dict[str, Any]] = field(default_factory=dict)
    alarm_logs: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_MAX_KEPT))
    sent: deque[Sent] = field(default_factory=lambda: deque(maxlen=_MAX_KEPT))

    app_id: str = "app-demo"
    project_key: str = "demo-project-key"  # of certificates and the app-side device API
    access_key: str = "demo-access-key"
    secret_key: str = "demo-secret-key"  # noqa: S105
    admin: dict[str, Any] = field(default_factory=lambda: _ADMIN | {"tags": {}})
    password: str = "demo-password"  # noqa: S105
    tokens: dict[str, Token] = field(default_factory=dict)
    token_seconds: float = 86_400  # of access_token
    admin_token_seconds: float = 7 * 86_400
    logins: int = 0  # of both kinds, successful or not
    bad_logins: dict[str, int] = field(default_factory=dict)  # in a row, by access key or account
    lock_after: int | None = 5  # so many of them in a row; None: never
    max_rate: float | None = None  # calls per second; None or 0: no limit
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_KEPT))  # monotonic, each call of the API
    accepted: deque[float] = field(default_factory=deque)

    page_size: int = 20
    max_page_records: int = 100  # of the device lists; more is refused
    alarm_logs_shown: int = 100  # the newest; the document has no paging here
    device_delay: float = 0  # seconds from the cloud's response until the device has done it and reported it
    removal_silence: float = 86_400  # seconds without a message before a device may be deleted
    live_seconds: float = 3
    timers: list[asyncio.TimerHandle] = field(default_factory=list)  # of devices that have yet to act

    @property
    def pushes(self) -> deque[Push]:
        """Return the pushes with their responses, newest last."""
        return self.pusher.delivered

    async def push(self, kind: str, body: Any) -> Push:
        """Push anything to `<push_url>/<kind>` now; a text is sent as it is."""
        return await self.pusher.push(kind, body)

    async def settle(self) -> None:
        """Wait until every enqueued push has been tried, and every message published."""
        await self.pusher.settle()
        if self.app_broker is not None:
            await self.app_broker.settle()

    def _publish(self, kind: str, device: Device, body: dict[str, Any], push: str | None = None) -> None:
        """Publish a message about a device for applications, and push it as `push`."""
        if self.app_broker is not None:
            self.app_broker.enqueue(device.view_token, kind, body)
        if push is not None:
            self.pusher.enqueue(push, body)

    def expire_tokens(self) -> None:
        """Expire every token."""
        self.tokens = {text: token._replace(ends=0.0) for text, token in self.tokens.items()}

    def unlock(self) -> None:
        """Reset the count of failed logins."""
        self.bad_logins.clear()

    def attributes(self, device: str) -> dict[str, Attribute]:
        """Return the attributes of a device by identifier, to read and to change."""
        return self.attribute_store.of(self.devices[device])

    def values(self, device: str) -> dict[str, Any]:
        """Return the cloud's copy of a device's attributes."""
        return {identifier: attribute.value for identifier, attribute in self.attributes(device).items()}

    def actual(self, device: str) -> dict[str, Any]:
        """Return the values that the device itself has."""
        known = self.attributes(device).items()
        return {identifier: attribute.actual for identifier, attribute in known if attribute.actual is not None}

    def add_device(self, name: str, /, **fields: Any) -> Device:
        """Add a device that has not sent anything yet; `fields` are those of `Device`. Raises `TypeError`."""
        values: dict[str, Any] = {"id": make_id(self.rng), "create_time": now_ms(), "number": len(self.devices)}
        values |= {"view_token": make_id(self.rng, 16), "access_token": make_id(self.rng, 20)}
        values["device_code"] = str(self.rng.randrange(200_000, 1_000_000))
        device = Device(name=name, **(values | fields))
        self.devices[device.id] = device
        return device

    def remove_device(self, device: str) -> None:
        """Remove a device; its alarm logs stay."""
        self.attribute_store.delete_all(self.devices.pop(device))
        for customer in self.customers.values():
            customer["devices"] = [one for one in customer["devices"] if one != device]

    def change(self, device: str, **fields: Any) -> Device:
        """Set fields of a device, such as `deaf`. Raises `AttributeError`."""
        found = self.devices[device]
        for name, value in fields.items():
            setattr(found, name, value)
        return found

    def set_online(self, device: str, online: bool, push: bool = False) -> Device:  # noqa: FBT001, FBT002
        """Let a device come or go, and push it on demand."""
        found = self.devices[device]
        changes, ts = found.online is not online, now_ms()
        found.online = online
        if online:
            found.active["online"] = ts
        if changes:
            self._publish(
                "online",
                found,
                {"device": device_summary(found), "online": online, "ts": ts},
                "online" if push else None,
            )
        return found

    def silence(self, device: str, seconds: float) -> None:
        """Take a device offline, with its last message at least so many seconds ago."""
        found, heard = self.set_online(device, online=False), now_ms() - round(seconds * 1000)
        found.active = {kind: min(at, heard) for kind, at in found.active.items()}

    def report(self, device: str, values: dict[str, Any], push: bool = True) -> None:  # noqa: FBT001, FBT002
        """Report attributes of a device: its own value and the cloud's; an unknown one is new, without a model."""
        found, ts = self.devices[device], now_ms()
        for identifier, value in values.items():
            self.attribute_store.set(found, identifier, value, "report", ts).actual = value
        found.active["attributes"] = ts
        if push:
            body = {"device": device_summary(found), "attributes": dict(values), "ts": ts}
            self._publish("attributes", found, body, "attributes")

    def set_cloud(self, device: str, values: dict[str, Any]) -> None:
        """Change the cloud's copy; the device does not get it."""
        found, ts = self.devices[device], now_ms()
        for identifier, value in values.items():
            self.attribute_store.set(found, identifier, value, "cloud", ts)

    def send(self, device: str, kind: str, body: Any) -> None:
        """Send a device attributes, a command or data; the device decides what it does."""
        found = self.devices[device]
        reached = found.online and not found.deaf
        self.sent.append(Sent(kind, device, body, reached, now_ms()))
        if kind == "attributes" and self.quirks.send_changes_cloud:
            self.set_cloud(device, body)
        if reached and kind == "command":
            self.reply(device, body["method"], {"result": 0}, body["id"])
        if not reached or kind != "attributes":
            return
        if not self.device_delay:
            self._apply(device, body)
            return
        loop = asyncio.get_running_loop()
        self.timers = [timer for timer in self.timers if timer.when() > loop.time()]
        self.timers.append(loop.call_later(self.device_delay, self._apply_late, device, body))

    def event(self, device: str, method: str, params: dict[str, Any], push: bool = True) -> None:  # noqa: FBT001, FBT002
        """Report an event of a device."""
        found, ts = self.devices[device], now_ms()
        found.active["event"] = ts
        if push:
            event = {"method": method, "params": params, "id": self.rng.randrange(1, 100_000)}
            self._publish("event_report", found, {"device": device_summary(found), "event": event, "ts": ts}, "event")

    def data(self, device: str, identifier: str, kind: str, msg: Any) -> None:
        """Push what a device sent on a custom data stream; `kind` is hex, text or json."""
        found, ts = self.devices[device], now_ms()
        data = {"identifier": identifier, "type": kind, "msg": msg}
        self._publish(f"data/{identifier}", found, {"device": device_summary(found), "data": data, "ts": ts}, "data")

    def reply(self, device: str, method: str, params: dict[str, Any], number: int) -> None:
        """Reply to a command, which `number` identifies."""
        found, reply = self.devices[device], {"method": method, "params": params, "id": number}
        self._publish("command_reply", found, {"device": device_summary(found), "reply": reply, "ts": now_ms()})

    def raise_alarm(
        self,
        device: str,
        level: int = 1,
        push: bool = True,  # noqa: FBT001, FBT002
        ago: int = 0,
        rule: str | None = None,
    ) -> dict[str, Any]:
        """Log and push an alarm of level 1 to 3, `ago` ms in the past. Raises `ValueError`."""
        if level not in LEVEL_TEXTS:
            raise ValueError(f"no such level: {level}")
        found = self.devices[device]
        rule = rule or f"rule-{level}"
        log = self._log(found, rule, level=level, status=1, at=now_ms() - ago, push=push)
        found.active_alarms.pop(rule, None)
        found.active_alarms[rule] = log
        return log

    def recover(
        self,
        device: str,
        push: bool = True,  # noqa: FBT001, FBT002
        ago: int = 0,
        rule: str | None = None,
    ) -> dict[str, Any]:
        """Clear a device's alarm of a rule, or its newest. Raises `ValueError` if it is not active."""
        found = self.devices[device]
        cleared = next(reversed(found.active_alarms), "") if rule is None else rule
        if cleared not in found.active_alarms:
            raise ValueError(f"no alarm at {device}")
        level = found.active_alarms.pop(cleared)["alarm_level"]
        return self._log(found, cleared, level=level, status=0, at=now_ms() - ago, push=push)

    def _log(  # noqa: PLR0913 - as raise_alarm
        self, device: Device, rule: str, *, level: int, status: int, at: int, push: bool
    ) -> dict[str, Any]:
        device.alarm_changed_at = max(device.alarm_changed_at, at)
        log = {
            "id": make_id(self.rng, 16),
            "device_id": device.id,
            "alarm_status": status,
            "alarm_level": level,
            "alarm_info": {"rule_id": rule, "rule_name": "温度过高", "notify_text": f"{device.name}温度异常"},
            "create_time": at,
            "notify_logs": [],
            "device": {"id": device.id, "name": device.name},
        }
        self.alarm_logs.append(log)
        if push:
            values = self.values(device.id)
            reported = {name: values[name] for name in ("temperature",) if name in values}
            self._publish("alarm", device, alarm_body(self.project, device, log, (reported, values)), "alarm")
        return log

    def _apply(self, device: str, values: dict[str, Any]) -> None:
        """Apply what a device accepts of the values sent to it, and report them; it checks spelling and bounds."""
        known = self.attributes(device)
        done = {name: value for name, value in values.items() if self._accepts(device, known.get(name), value)}
        if done:
            self.report(device, done)

    def _accepts(self, device: str, attribute: Attribute | None, value: Any) -> bool:
        if attribute is None:
            return True
        definition = attribute.definition
        if attribute.first is None:
            return definition.attr_type != "cloud"
        return definition.attr_type in ("push", "both") and fits(definition, self.devices[device].spelling, value)

    def _apply_late(self, device: str, values: dict[str, Any]) -> None:
        found = self.devices.get(device)
        if found is not None and found.online and not found.deaf:
            self._apply(device, values)


SIMULATOR = web.AppKey("SIMULATOR", Simulator)
