"""Selection of a Sangfor AC that changes under a running bridge: devices, entities, calls and watched users follow."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fleet2mqtt.simulators.sangfor_ac.app import SIMULATOR, Simulator, create
from tests.bridge_under_test import NEVER, RunningBridge, config_topic, run_bridge, serve
from tests.broker import HOST, Broker, free_port
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SOURCES = ("status", "online_users", "policies", "groups", "libraries", "bindings", "users")
WATCH = {"groups": ["/hello"], "users": ["a", "it-*"], "bindings": ["1.1.1.2"]}
KINDS = {
    "net_policy": "net_policy",
    "flux_policy": "flux_policy",
    "user_group": "group",
    "user": "user",
    "binding": "binding",
}
"""Kinds of sub-devices, and what the ids of their devices have after the backend."""
SWITCH = "netpolicy_hello"


@dataclass(slots=True, kw_only=True)
class Office:
    """A running bridge with one AC, and the AC."""

    simulator: Simulator
    bridge: RunningBridge
    file: Path

    async def change(self, **options: Any) -> None:
        """Change options of the backend by a reload (None: left out), and poll everything."""
        whole = yaml.safe_load(self.file.read_text())
        backend = whole["backends"]["ac"] | options
        whole["backends"]["ac"] = {name: value for name, value in backend.items() if value is not None}
        self.file.write_text(yaml.safe_dump(whole))
        answer = await self.bridge.ask("reload")
        assert answer["data"]["changed"] == ["ac"], answer
        self.simulator.fault_injector.calls.clear()
        await self.bridge.refresh()

    def called(self) -> set[str]:
        return {call.path.removeprefix("/v1/") for call in self.simulator.fault_injector.calls}

    async def kinds(self) -> set[str]:
        """Return the kinds of sub-devices that the bridge has, by the ids of the devices."""
        ids = set(await self.bridge.devices())
        return {kind for kind, word in KINDS.items() if any(id_.startswith(f"ac_{word}_") for id_ in ids)}

    async def is_removed(self, id_: str) -> None:
        """Wait until the discovery message of a device is emptied."""

        def emptied() -> bool:
            message = self.bridge.seen.latest(config_topic(id_))
            return message is not None and not message.payload

        await wait_until(emptied, f"{id_} to be removed", PATIENCE)

    async def has_entities(self, id_: str, **wanted: bool) -> None:
        """Wait until a device has these entities in discovery, or lacks them."""

        def shown() -> set[str]:
            components = self.bridge.descriptions().get(id_, {}).get("components", {})
            return {key for key, component in components.items() if len(component) > 1}

        await wait_until(
            lambda: all((key in shown()) is there for key, there in wanted.items()), lambda: f"{wanted}: {shown()}"
        )


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    application = create(devices=3)
    simulator = application[SIMULATOR]
    simulator.log_in("10.8.0.1", "it-bob")
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(directory=tmp_path / "broker"))
        backend = {
            "platform": "sangfor_ac",
            "url": await serve(stack, application),
            "key": simulator.key,
            "spacing": 0,
            "timeout": PATIENCE,
            "watch": WATCH,
            "scan_interval": dict.fromkeys(SOURCES, NEVER),
        }
        options = {
            "mqtt": {"host": HOST, "port": broker.port, "discovery_rate": 100_000, "will_delay": 0},
            "data_dir": "data",
            "push": {"host": HOST, "port": free_port()},
            "web": {"host": HOST, "port": free_port()},
            "backends": {"ac": backend},
        }
        bridge = await stack.enter_async_context(run_bridge(broker, tmp_path, options))
        await bridge.refresh()
        yield Office(simulator=simulator, bridge=bridge, file=tmp_path / "fleet2mqtt.yaml")


async def test_kinds_excluded_are_removed_and_return(office: Office) -> None:
    assert await office.kinds() == set(KINDS)
    before = set(await office.bridge.devices())
    await office.change(exclude=[{"kind": kind} for kind in KINDS])
    for id_ in before:
        if any(id_.startswith(f"ac_{word}_") for word in KINDS.values()):
            await office.is_removed(id_)
    assert await office.kinds() == set()
    assert not {path for path in office.called() if not path.startswith("status/")} - {"online-users"}
    await office.change(exclude=None)
    assert set(await office.bridge.devices()) == before
    assert {"group/netpolicy", "user", "policy/fluxpolicy"} <= office.called()


async def test_single_group_excluded_leaves_the_others(office: Office) -> None:
    await office.change(watch=WATCH | {"groups": ["/hello", "/default"]})
    groups = {id_ for id_ in await office.bridge.devices() if id_.startswith("ac_group_")}
    await office.change(exclude=[{"kind": "user_group", "id": "/hello"}])
    (kept,) = {id_ for id_ in await office.bridge.devices() if id_.startswith("ac_group_")}
    await office.is_removed((groups - {kept}).pop())
    calls = [call for call in office.simulator.fault_injector.calls if call.path.endswith("group/netpolicy")]
    assert {call.query["path"] for call in calls} == {"/default"}


async def test_levels_change_entities_and_calls(office: Office) -> None:
    (group,) = {id_ for id_ in await office.bridge.devices() if id_.startswith("ac_group_")}
    await office.has_entities(group, netpolicy=True, **{SWITCH: True})
    await office.change(entities="minimal")
    await office.has_entities("ac", cpu_usage=True, session_num=False, library_kav_update=False)
    await office.has_entities(group, netpolicy=True, **{SWITCH: False})
    assert not {"status/session-num", "status/log", "status/throughput", "ipmac-bindinfo"} & office.called()
    await office.change(entities="full")
    await office.has_entities("ac", session_num=True, log_block=True, library_kav_update=True)
    await office.has_entities(group, **{SWITCH: True})
    assert {"status/session-num", "status/log", "status/user-rank", "ipmac-bindinfo"} <= office.called()
    await office.bridge.shows("ac", "log_block", office.simulator.status["log"]["block"])


async def test_override_makes_the_call_of_a_disabled_entity(office: Office) -> None:
    assert office.bridge.state("ac")["app_rank"] is None
    await office.change(overrides={"app_rank": {"enabled": True}, "session_num": {"enabled": False}})
    assert "status/app-rank" in office.called()
    assert "status/session-num" not in office.called()
    await wait_until(lambda: office.bridge.state("ac")["app_rank"] is not None, "the rank", PATIENCE)


async def test_patterns_and_limit_change(office: Office) -> None:
    users = {id_ for id_ in await office.bridge.devices() if id_.startswith("ac_user_")}
    assert len(users) == 2
    office.simulator.log_in("10.8.0.2", "hr-ann")
    await office.change(watch=WATCH | {"users": ["hr-*"], "max_users": 1})
    await office.bridge.refresh()
    (left,) = {id_ for id_ in await office.bridge.devices() if id_.startswith("ac_user_")}
    assert left not in users
    for id_ in users:
        await office.is_removed(id_)


async def test_update_entity_shows_both_versions(office: Office) -> None:
    await office.has_entities("ac", library_kav_update=True)
    component = office.bridge.descriptions()["ac"]["components"]["library_kav_update"]
    assert (component["platform"], "command_topic" in component) == ("update", False)
    assert office.bridge.state("ac")["library_kav_update"] == {
        "installed_version": "2021-09-01",
        "latest_version": "2021-09-08",
    }
    result = await office.bridge.set("ac", {"library_kav_update": "install"})
    assert (result["status"], result["error"]["code"]) == ("invalid", "read_only")
