"""Reload of the configuration: what changed is applied, the rest goes on, and a wrong file changes nothing."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.bridge_under_test import CHANNEL, GATEWAY, VOIP, RunningBridge, Site, open_site
from tests.broker import HOST, Broker, free_port
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


def edit(site: Site, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the configuration file."""
    file = site.folder / "fleet2mqtt.yaml"
    options = yaml.safe_load(file.read_text())
    change(options)
    file.write_text(yaml.safe_dump(options))


async def reload(bridge: RunningBridge) -> dict[str, Any]:
    answer = await bridge.ask("reload")
    assert answer["status"] == "ok", answer
    found: dict[str, Any] = answer["data"]
    return found


def report(**changes: Any) -> dict[str, Any]:
    return {"added": [], "removed": [], "changed": [], "options": [], "restarted": False} | changes


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


async def test_reload_without_a_change_changes_nothing(site: Site) -> None:
    async with site.bridge() as bridge:
        assert await reload(bridge) == report()


async def test_backend_added_and_removed_leaves_the_other_connected(site: Site) -> None:
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.refresh()
        await bridge.is_available("branch", "online")
        calls = len(site.gateways.fault_injector.calls)
        voip = {"platform": "ums", "url": site.urls["hq_voip"]}
        edit(site, lambda options: options["backends"].update(hq_voip=voip))
        assert await reload(bridge) == report(added=["hq_voip"], options=["backends"])
        await bridge.is_available("hq_voip", "online")
        assert (await bridge.set(VOIP, {"device_name": "n"}))["status"] in {"confirmed", "invalid"}

        edit(site, lambda options: options["backends"].pop("hq_voip"))
        assert await reload(bridge) == report(removed=["hq_voip"], options=["backends"])
        await bridge.is_available("hq_voip", "offline")
        assert VOIP in await bridge.devices()
        refused = await bridge.ask("device_list", "backend/hq_voip")
        assert refused["error"]["code"] == "unknown_backend"
        assert any("backend hq_voip is no longer configured" in warning for warning in bridge.warnings())

        assert len(site.gateways.fault_injector.calls) == calls
        assert [each.text for each in bridge.seen.all("fleet2mqtt/backend/branch/availability")][-1] == "online"
        assert [each.text for each in bridge.seen.all("fleet2mqtt/bridge/state")] == ["online"]


async def test_command_for_a_removed_backend_ends_not_ready(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        edit(site, lambda options: options["backends"].pop("branch"))
        await reload(bridge)
        result = await bridge.set(CHANNEL, {"apn": "ctnet"})
        assert (result["status"], result["error"]["code"]) == ("failed", "not_ready")
        answer = await bridge.ask("refresh", device=GATEWAY)
        assert answer["error"]["code"] == "unknown_backend"


async def test_changed_backend_keeps_its_states_and_takes_commands(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        before = bridge.state(CHANNEL)
        edit(site, lambda options: options["backends"]["branch"].update(timeout=PATIENCE - 1, allow=["mapping_delete"]))
        assert await reload(bridge) == report(changed=["branch"], options=["backends"])
        await bridge.is_available("branch", "online")
        await bridge.settle()
        assert {key: bridge.history(CHANNEL, key) for key in before if key != "_meta"} == {
            key: [value] for key, value in before.items() if key != "_meta"
        }
        assert (await bridge.set(CHANNEL, {"apn": "other"}))["status"] in {"confirmed", "unconfirmed"}
        assert (await bridge.ask("mapping_delete", "backend/branch", uuids=["x"]))["error"]["code"] != "not_allowed"


async def test_command_in_progress_ends_before_its_backend_is_replaced(site: Site) -> None:
    async with site.bridge(commands={"confirm_timeout": 30}) as bridge:
        await bridge.settle()
        site.gateways.apply_delay = 1
        await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", {"apn": "late", "transaction": "c"})
        await wait_until(
            lambda: any(call.path.endswith("/devices/set") for call in site.gateways.fault_injector.calls), "the write"
        )
        edit(site, lambda options: options["backends"]["branch"].update(timeout=PATIENCE - 1))
        await reload(bridge)
        assert [each["status"] for each in bridge.results(CHANNEL)] == ["confirmed"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("backends: [", "fleet2mqtt.yaml:1: not YAML"),
        ("backends:\n  hq: {platform: usm, url: 'http://x'}\n", "fleet2mqtt.yaml:2: backends.hq.platform: unknown"),
        ("", "fleet2mqtt.yaml:1: nothing in it"),
    ],
)
async def test_file_that_is_wrong_is_rejected_with_its_lines(site: Site, text: str, words: str) -> None:
    async with site.bridge() as bridge:
        await bridge.refresh()
        file = site.folder / "fleet2mqtt.yaml"
        good = file.read_text()
        file.write_text(text)
        answer = await bridge.ask("reload")
        assert (answer["status"], answer["error"]["code"]) == ("error", "invalid_configuration")
        assert words in answer["error"]["message"]
        assert all((await bridge.refresh())["branch"].values())
        file.write_text(good)
        assert await reload(bridge) == report()


async def test_http_servers_move_to_another_port(site: Site) -> None:
    async with site.bridge() as bridge:
        push, web = free_port(), free_port()
        edit(site, lambda options: (options["push"].update(port=push), options["web"].update(port=web)))
        assert await reload(bridge) == report(options=["push", "web"])
        assert [accepts(port) for port in (push, web, site.push_port, site.web_port)] == [True, True, False, False]


async def test_http_server_whose_port_is_taken_is_rejected_and_nothing_changes(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        async with site.bridge() as bridge:
            port = taken.getsockname()[1]
            edit(site, lambda options: (options["push"].update(port=free_port()), options["web"].update(port=port)))
            edit(site, lambda options: options["backends"].pop("branch"))
            answer = await bridge.ask("reload")
            assert answer["error"]["code"] == "invalid_configuration"
            assert f"web: cannot listen on {HOST}:{port}" in answer["error"]["message"]
            assert [accepts(port) for port in (site.push_port, site.web_port)] == [True, True]
            assert set(await bridge.refresh()) == {"hq_voip", "branch"}


async def test_changed_broker_options_connect_again_and_leave_the_backends_connected(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.refresh()
        calls = len(site.gateways.fault_injector.calls)
        edit(site, lambda options: options["mqtt"].update(keepalive=77, protocol="3.1.1", discovery_rate=50))
        assert await reload(bridge) == report(options=["mqtt"])
        topic = "fleet2mqtt/bridge/info"
        await bridge.seen.wait(lambda each: each.topic == topic and each.json["mqtt_protocol"] == "3.1.1")
        assert (await bridge.ask("devices", limit=1))["status"] == "ok"
        assert len(site.gateways.fault_injector.calls) == calls
        assert ", k77" in site.broker.log()


async def test_broker_options_that_cannot_be_used_are_rejected(site: Site) -> None:
    async with site.bridge() as bridge:
        (site.folder / "cert.pem").write_text("no certificate")
        tls = {"certificate": "cert.pem"}
        edit(site, lambda options: options["mqtt"].update(tls=tls))
        assert (await bridge.ask("reload"))["error"]["code"] == "invalid_configuration"
        assert (await bridge.ask("devices", limit=1))["status"] == "ok"


async def test_move_to_another_broker_by_a_reload(site: Site, tmp_path: Path) -> None:
    async with site.bridge() as bridge, Broker(directory=tmp_path / "other") as other, other.record("#") as seen:
        await bridge.refresh()
        edit(site, lambda options: options["mqtt"].update(port=other.port))
        assert await reload(bridge) == report(options=["mqtt"])
        await seen.wait(lambda each: (each.topic, each.text) == ("fleet2mqtt/bridge/state", "online"))
        await seen.wait(lambda each: (each.topic, each.text) == ("fleet2mqtt/backend/branch/availability", "online"))
        await bridge.seen.wait(lambda each: (each.topic, each.text) == ("fleet2mqtt/bridge/state", "offline"))


async def test_option_that_needs_it_starts_the_bridge_again_in_its_process(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.refresh()
        edit(site, lambda options: options.update(base_topic="other"))
        assert await reload(bridge) == report(options=["base_topic"], restarted=True)
        await bridge.seen.wait(lambda each: (each.topic, each.text) == ("other/bridge/state", "online"))
        await bridge.seen.wait(lambda each: (each.topic, each.text) == ("other/backend/branch/availability", "online"))
        assert [each.text for each in bridge.seen.all("fleet2mqtt/bridge/state")] == ["online", "offline"]


async def test_restart_that_fails_goes_on_with_the_old_configuration(site: Site) -> None:
    (site.folder / "file").write_text("")
    async with site.bridge() as bridge:
        await bridge.refresh()
        edit(site, lambda options: options.update(data_dir="file/data"))
        assert (await reload(bridge))["restarted"]
        topic = "fleet2mqtt/bridge/state"
        await wait_until(
            lambda: [each.text for each in bridge.seen.all(topic)][1:] == ["offline", "online"], "a restart"
        )
        assert (await bridge.ask("devices", limit=1))["status"] == "ok"
        assert not bridge.task.done()


async def test_secret_of_the_new_file_is_redacted_from_the_log(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.refresh()
        secret = "canary-of-the-new-file"
        url = site.urls["branch"].replace("http://", "http://nowhere.invalid/")
        edit(site, lambda options: options["backends"]["branch"].update(url=url, headers={"Authorization": secret}))
        await reload(bridge)
        await bridge.refresh(backend="branch")
        assert all(secret not in each.text for each in bridge.seen.messages)


async def test_reload_while_it_stops_ends(site: Site) -> None:
    async with site.bridge() as bridge:
        edit(site, lambda options: options["backends"].pop("branch"))
        await bridge.broker.publish("fleet2mqtt/bridge/request/reload", {})
        bridge.stop.set()
    await asyncio.wait_for(bridge.task, 60)
