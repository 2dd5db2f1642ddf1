"""Entity descriptions: component, category, unit and value of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.platforms.sangfor_ac.entities import entity_key
from tests.platforms.sangfor_ac.connected import BOUND, GROUP, HELLO, NAME, PAIR, USER, WATCH, connected, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.devices.model import Device, EntityDescription
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run

_PERCENT = "sensor % measurement"
_RATE = "sensor data_rate bit/s measurement"
_BANDWIDTH = "sensor diagnostic off data_rate bit/s measurement"

_BOX: dict[str, tuple[str, Any]] = {
    "online_user": ("sensor measurement", 2),
    "session_num": ("sensor measurement", 1280),
    "cpu_usage": (_PERCENT, 12),
    "mem_usage": (_PERCENT, 41),
    "disk_usage": (_PERCENT, 23),
    "bandwidth_usage": (_PERCENT, 35),
    "throughput_send": (_RATE, 12_480_000),
    "throughput_recv": (_RATE, 58_440_000),
    "log_block": ("sensor off total_increasing", 1024),
    "log_record": ("sensor off total_increasing", 58231),
    "sys_time": ("sensor diagnostic off timestamp", None),  # it moves
    "version": ("sensor diagnostic", "AC13.0.18.046 Build20210909"),
    "online_user_frozen": ("sensor measurement", 0),
    "online_user_pc": ("sensor off measurement", 1),
    "online_user_mobile": ("sensor off measurement", 0),
    "online_user_multi": ("sensor off measurement", 0),
    "user_rank": ("sensor diagnostic off data_rate B/s measurement", 15_348_046),
    "app_rank": ("sensor diagnostic off", "HTTP"),
}
_LATER = "2099-12-31T00:00:00+08:00"
_LIBRARIES = {
    "kav": ("2021-09-01", "2021-09-08", "ON", _LATER, "OFF"),
    "url": ("2021-09-06", "2021-09-06", "ON", _LATER, "OFF"),
    "up": ("2021-08-30", "2021-08-30", "ON", _LATER, "OFF"),
    "contchk": ("2021-09-03", "2021-09-07", "ON", "2021-08-31T00:00:00+08:00", "ON"),
    "trace": ("2021-09-02", "2021-09-02", "OFF", _LATER, "OFF"),
}
_LIBRARY = {
    "update": "update diagnostic",
    "current": "sensor diagnostic off",
    "new": "sensor diagnostic off",
    "enable": "binary_sensor diagnostic",
    "expire": "sensor diagnostic timestamp",
    "is_expired": "binary_sensor diagnostic problem",
}
_CHANNEL: dict[str, tuple[str, Any]] = {
    "policy_enable": ("binary_sensor", "ON"),
    "assured_bandwidth_up": (_BANDWIDTH, 20_000_000),
    "assured_bandwidth_down": (_BANDWIDTH, 20_000_000),
    "max_bandwidth_up": (_BANDWIDTH, 100_000_000),
    "max_bandwidth_down": (_BANDWIDTH, 100_000_000),
    "single_user_limit_up": (_BANDWIDTH, None),
    "single_user_limit_down": (_BANDWIDTH, None),
}
_GROUP: dict[str, tuple[str, Any]] = {
    "netpolicy": ("sensor measurement", 2),
    "netpolicy_hello": ("switch", "OFF"),
    "netpolicy_policy1": ("switch", "ON"),
    "netpolicy_policy2": ("switch", "ON"),
    "netpolicy_f889ecd9": ("switch", "OFF"),
    "netpolicy_8b258a9a": ("switch", "OFF"),
}
_USER: dict[str, tuple[str, Any]] = {
    "online": ("binary_sensor connectivity", "ON"),
    "ip": ("sensor", "1.1.1.1"),
    "mac": ("sensor diagnostic off", "11-11-11-11-11-11"),
    "father_path": ("sensor", "/default"),
    "terminal": ("sensor enum unknown,mobile,pc,multi", "pc"),
    "authway": ("sensor enum none,password,sms,single_sign_on,auth_free,unknown", "password"),
    "login_time": ("sensor timestamp", None),  # it moves
    "enable": ("binary_sensor", "ON"),
    "expire_time": ("sensor timestamp", None),
}
_BINDING: dict[str, tuple[str, Any]] = {
    "enable": ("binary_sensor", "ON"),
    "user_bindings": ("sensor measurement", 1),
    "ip": ("sensor", "1.1.1.2"),
    "mac": ("sensor", "11-11-11-11-11-11"),
    "desc": ("sensor diagnostic off", None),
}


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated(watch=WATCH, allow=()) as (simulator, run):
        await run.poll()
        yield simulator, run


def _versions(values: tuple[str, ...]) -> dict[str, str]:
    return {"installed_version": values[0], "latest_version": values[1]}


def _describe(item: EntityDescription) -> str:
    flags = (item.category, "" if item.enabled else "off", "secret" if item.secret else "")
    parts = (item.component, *flags, item.device_class, item.unit, item.state_class, ",".join(item.options))
    return " ".join(str(part) for part in parts if part)


def _table(device: Device) -> dict[str, str]:
    return {item.key: _describe(item) for item in device.entities}


def _same(device: Device, items: dict[str, tuple[str, Any]], *moving: str) -> None:
    assert _table(device) == {key: description for key, (description, _) in items.items()}
    for key, (_, value) in items.items():
        if key in moving:
            assert device.state[key] is not None
        else:
            assert (key, device.state[key]) == (key, value)


async def test_appliance_entities_have_values(guarded: tuple[Simulator, Run]) -> None:
    _, run = guarded
    libraries = {
        f"library_{name}_{field}": (description, value)
        for name, values in _LIBRARIES.items()
        for (field, description), value in zip(_LIBRARY.items(), (_versions(values), *values), strict=True)
    }
    box = run.devices[NAME]
    _same(box, _BOX | libraries, "sys_time")
    assert (box.manufacturer, box.model, box.sw_version) == ("Sangfor", "AC", "AC13.0.18.046 Build20210909")
    assert (box.scope, box.name, box.via) == ("backend", NAME, None)
    assert box.attributes["library_contchk_is_expired"] == {"expire": "2021-08-31"}
    assert str(box.state["sys_time"]).endswith("+08:00")


async def test_ranks_contain_no_personal_data(guarded: tuple[Simulator, Run]) -> None:
    simulator, run = guarded
    ranked = run.devices[NAME].attributes["user_rank"]["rank"]
    assert [set(item) for item in ranked] == [{"group", "up", "down", "total", "session", "status"}] * 2
    assert run.devices[NAME].attributes["app_rank"]["rank"][0]["line_name"] == "线路1"
    text = repr(run.devices[NAME].attributes)
    assert not [item["name"] for item in simulator.online.values() if repr(item["name"]) in text]
    assert not [item["ip"] for item in simulator.online.values() if item["ip"] in text]


async def test_policy_entities_have_values(guarded: tuple[Simulator, Run]) -> None:
    _, run = guarded
    assert _table(run.devices[HELLO]) == {"status": "binary_sensor"}
    assert run.state(HELLO) == {"status": "ON"}
    assert run.state(f"{NAME}_net_policy_policy2") == {"status": "OFF"}
    assert run.devices[HELLO].attributes["status"] == {
        "type": "上网权限策略",
        "founder": "admin",
        "expire": "永久生效",
        "location": ["所有位置"],
        "terminal": ["所有终端"],
        "target_area": ["全部"],
    }
    channel = run.devices[run.named("flux_policies", "时延敏感型应用保障")]
    _same(channel, _CHANNEL)
    assert channel.attributes["policy_enable"] == {
        "applications": "DNS,游戏,金融行情,金融交易,网络会议,ICMP,远程登录,网上银行",
        "ip_group": "全部",
        "active_time": "全天",
        "line": "线路1",
        "priority": "High",
        "is_default_child": False,
        "is_low_speed": False,
    }
    child = run.devices[run.named("flux_policies", "下载限速/默认通道")]
    assert child.name == "Channel 下载限速/默认通道"
    assert child.attributes["policy_enable"]["parent"] == "下载限速"
    assert (child.via, child.manufacturer) == (NAME, "Sangfor")
    assert run.state(run.named("flux_policies", "下载限速"))["policy_enable"] == "OFF"


async def test_watched_entities_have_values(guarded: tuple[Simulator, Run]) -> None:
    _, run = guarded
    _same(run.devices[GROUP], _GROUP)
    assert (run.devices[GROUP].name, run.devices[GROUP].model) == ("Group /hello", "User group")
    assert run.devices[GROUP].attributes["netpolicy"] == {"policies": ["policy1", "policy2"]}
    _same(run.devices[USER], _USER, "login_time")
    assert run.devices[USER].attributes == {
        "online": {"logins": 1, "ips": ["1.1.1.1"]},
        "expire_time": {"enable": False},
    }
    _same(run.devices[PAIR], _BINDING)
    bound = run.devices[BOUND]
    assert _table(bound) == {"enable": "binary_sensor", "user_bindings": "sensor measurement"}
    assert bound.state == {"enable": "ON", "user_bindings": 3}
    assert bound.attributes["user_bindings"]["bindings"][2] == {
        "enable": True,
        "desc": None,
        "name": "a",
        "addr": "1.1.1.1+11-11-11-11-11-11",
        "addr_type": "ipmac",
        "time": "2018-05-14",
        "limitlogon": True,
        "noauth": {"enable": False, "indate": 0},
    }


async def test_entities_have_two_names_and_unique_keys(guarded: tuple[Simulator, Run]) -> None:
    _, run = guarded
    for device in run.devices.values():
        keys = [item.key for item in device.entities]
        assert len(keys) == len(set(keys))
        assert all(key == key.lower() and key.replace("_", "").isalnum() for key in keys)
        assert all(item.name.en and item.name.zh and item.name.en != item.name.zh for item in device.entities)


def test_entity_key_similar_names_differ() -> None:
    names = ("guest", "Guest", "guest-net", "guest_net", "guest net", "guest.net", "策略", "策略-2", "x" * 60, "x" * 61)
    keys = [entity_key(name) for name in names]
    assert keys[0] == "guest"
    assert keys[3] == "guest_net"
    assert len(set(keys)) == len(names)
    assert all(len(key) <= 40 and key.replace("_", "").isalnum() for key in keys)


async def test_backend_has_sources_and_quota() -> None:
    async with connected("http://127.0.0.1:1/v1", spacing=0.5) as run:
        backend = run.backend
        assert (backend.name, backend.platform, backend.title) == (NAME, "sangfor_ac", "Sangfor AC")
        assert (backend.manufacturer, backend.configuration_url) == ("Sangfor", None)  # the API has no console
        assert backend.quota == {"concurrency": 1, "spacing": 0.5}
        assert [(one.name, one.interval, one.primary) for one in backend.sources] == [
            ("status", 60.0, True),
            ("online_users", 60.0, False),
            ("policies", 600.0, False),
            ("groups", 600.0, False),
            ("libraries", 3600.0, False),
            ("bindings", 600.0, False),
            ("users", 600.0, False),
        ]
