"""Actions for bindings: requests and responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import Rejected
from tests.platforms.sangfor_ac.connected import BINDING, SUCCESS, body_of, calls, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run


SAMPLE = {"desc": "", "mac": "11-11-11-11-11-11", "ip": "1.1.1.2"}


async def test_user_binding_actions_add_search_and_delete(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    path = "bindinfo/user-bindinfo"
    await run.act("user_binding_add", **BINDING, noauth={"enable": True, "indate": 1_900_000_000})
    assert body_of(simulator, path) == BINDING | {"desc": "", "noauth": {"enable": True, "expire_time": 1_900_000_000}}
    (found,) = (await run.act("user_binding_search", search="1.1.1.9"))["bindings"]
    assert found["noauth"] == {"enable": True, "indate": 1_900_000_000, "expire_time": 1_900_000_000}
    with pytest.raises(Rejected, match="exists already"):
        await run.act("user_binding_add", **found)
    assert await run.act("user_binding_delete", addr="1.1.1.9") == SUCCESS
    assert body_of(simulator, path) == {"addr": "1.1.1.9"}
    assert await run.act("user_binding_search", search="1.1.1.9") == {"bindings": []}
    await run.act("user_binding_add", **found)  # a item as it was found can be added again
    pair = BINDING | {"addr_type": "ipmac", "addr": "1.1.1.9+aa:bb:cc:dd:ee:ff"}
    await run.act("user_binding_add", **pair)
    assert body_of(simulator, path) == pair | {
        "desc": "",
        "addr": "1.1.1.9+AA-BB-CC-DD-EE-FF",
        "noauth": {"enable": False, "expire_time": 0},
    }
    await run.act("user_binding_delete", addr="aabbccddeeff")
    assert body_of(simulator, path) == {"addr": "AA-BB-CC-DD-EE-FF"}
    assert len((await run.act("user_binding_search", search="a"))["bindings"]) == 4
    with pytest.raises(Rejected):
        await run.act("user_binding_search")
    simulator.bindings_without_search = True
    assert len((await run.act("user_binding_search"))["bindings"]) == 4
    del simulator.bindings[0]["noauth"]
    assert "noauth" not in (await run.act("user_binding_search", search="1.1.1.2"))["bindings"][0]


async def test_ip_mac_binding_actions_add_search_and_delete(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    assert await run.act("ip_mac_binding_search", search="1.1.1.2") == {"bindings": [SAMPLE]}
    assert await run.act("ip_mac_binding_search", search="11:11:11:11:11:11") == {"bindings": [SAMPLE]}
    assert await run.act("ip_mac_binding_search", search="1.1.1.3") == {"bindings": []}
    assert await run.act("ip_mac_binding_add", ip="1.1.1.3", mac="aabb.ccdd.eeff") == SUCCESS
    assert body_of(simulator, "bindinfo/ipmac-bindinfo") == {"ip": "1.1.1.3", "mac": "AA-BB-CC-DD-EE-FF", "desc": ""}
    assert await run.act("ip_mac_binding_delete", ip="1.1.1.3") == SUCCESS
    assert calls(simulator, "bindinfo/ipmac-bindinfo")[-1].query == {"_method": "DELETE"}
    assert await run.act("ip_mac_binding_search", search="1.1.1.3") == {"bindings": []}
    assert len(calls(simulator, "ipmac-bindinfo")) == 4
    simulator.missing_chapters = {"bindings"}
    with pytest.raises(Rejected) as caught:
        await run.act("ip_mac_binding_search", search="1.1.1.3")
    assert (caught.value.code, caught.value.endpoint) == (404, "GET ipmac-bindinfo")


async def test_ip_mac_search_other_path_fails_raises_its_error(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    simulator.fault_injector.inject("status", "/v1/ipmac-bindinfo", status=404)
    simulator.fault_injector.inject("error", "/v1/bindinfo/ipmac-bindinfo", code=5, text="no")
    with pytest.raises(Rejected, match="no") as caught:
        await run.act("ip_mac_binding_search", search="1.1.1.3")
    assert caught.value.endpoint == "GET bindinfo/ipmac-bindinfo"


async def test_ip_mac_search_not_found_in_chinese_is_empty() -> None:
    async with simulated(language="zh") as (_, run):
        assert await run.act("ip_mac_binding_search", search="1.1.1.3") == {"bindings": []}


@pytest.mark.parametrize("text", ["绑定不存在", "There is no data!", "The user doesn't exist", "record not found"])
async def test_search_not_found_in_any_text_is_empty(fresh: tuple[Simulator, Run], text: str) -> None:
    simulator, run = fresh
    simulator.fault_injector.inject("error", text=text)
    assert await run.act("ip_mac_binding_search", search="1.1.1.3") == {"bindings": []}
    assert await run.act("user_binding_search", search="1.1.1.3") == {"bindings": []}
