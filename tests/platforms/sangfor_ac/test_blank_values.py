"""Blank, unknown and overlong values: an entity stays as long as its field is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.platforms.sangfor_ac.entities import MAX_ATTRIBUTES, MAX_STATE
from tests.platforms.sangfor_ac.connected import GROUP, HELLO, NAME, PAIR, USER, WATCH, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.state import Simulator
    from tests.platforms.context import Run


@pytest.mark.parametrize("blank", ["", None])
async def test_fields_blank_keep_their_entities(polled: tuple[Simulator, Run], blank: Any) -> None:
    """Defect 1.2."""
    simulator, run = polled
    before = {id_: {entity.key for entity in device.entities} for id_, device in run.devices.items()}
    simulator.net_policies[0]["policy_info"]["status"] = blank
    channel = simulator.flux_policies[0]
    channel |= {"policy_enable": blank, "max_bandwidth": blank, "single_user_limit": blank}
    simulator.users["a"] |= {"enable": blank, "expire_time": blank}
    for library in simulator.status["insidelib"]:
        library.update(dict.fromkeys(("current", "new", "expire", "enable", "is_expired"), blank))
    simulator.status["log"] |= {"block": blank}
    simulator.online["1.1.1.1"] |= {"father_path": blank, "terminal": blank, "login_time": 0}
    for item in simulator.bindings:
        item["enable"] = blank
    await run.poll("status", "policies", "libraries", "users", "bindings")
    for id_, device in run.devices.items():
        assert (id_, before[id_] - {entity.key for entity in device.entities}) == (id_, set())
    assert run.state(HELLO) == {"status": None}
    assert run.state(run.named("flux_policies", channel["name"]))["max_bandwidth_up"] is None
    assert (run.state(USER)["enable"], run.state(USER)["expire_time"]) == (None, None)
    assert run.state(NAME)["library_kav_current"] is run.state(NAME)["log_block"] is None


async def test_library_field_missing_has_no_entity(polled: tuple[Simulator, Run]) -> None:
    """Defect 1.2: a missing field is not a blank one."""
    simulator, run = polled
    del simulator.status["insidelib"][0]["enable"]
    await run.poll("libraries")
    assert run.devices[NAME].entity("library_kav_enable") is None
    assert run.devices[NAME].entity("library_kav_current") is not None


@pytest.mark.parametrize(
    ("enabled", "state"),
    [((True, False), "ON"), ((False, False), "OFF"), ((False, "maybe"), None), (("maybe", True), "ON"), ((), None)],
)
async def test_binding_unknown_enable_is_unknown(enabled: tuple[Any, ...], state: str | None) -> None:
    """Defect 3.9."""
    async with simulated(watch={"bindings": ["a"]}) as (simulator, run):
        template = simulator.bindings[0]
        simulator.bindings[:] = [template | {"enable": value} for value in enabled]
        await run.poll("bindings")
        assert run.state(run.named("bindings", "a"))["enable"] == state


async def test_throughput_unknown_unit_is_unknown_with_raw(polled: tuple[Simulator, Run]) -> None:
    """Defect 3.9."""
    simulator, run = polled
    text = '{"code": 0, "data": {"send": 12, "recv": 34, "unit": "Kbps"}}'
    simulator.fault_injector.inject("garbage", "/v1/status/throughput", text=text)
    await run.poll("status")
    assert (run.state(NAME)["throughput_send"], run.state(NAME)["throughput_recv"]) == (None, None)
    assert run.devices[NAME].attributes["throughput_send"] == {"raw": 12, "unit": "Kbps"}


async def test_library_expiry_no_date_is_unknown_with_text(polled: tuple[Simulator, Run]) -> None:
    """Defect 4.4."""
    simulator, run = polled
    simulator.status["insidelib"][0]["expire"] = "永久"
    await run.poll("libraries")
    entity = run.devices[NAME].entity("library_kav_expire")
    assert entity is not None
    assert (entity.device_class, entity.enabled) == ("timestamp", True)
    assert run.state(NAME)["library_kav_expire"] is None
    assert run.devices[NAME].attributes["library_kav_expire"] == {"expire": "永久"}


async def test_text_too_long_is_cut_and_whole_in_an_attribute() -> None:
    """Defect 5.6."""
    text = "第一行" * 200
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.ipmac["1.1.1.2"]["desc"] = text
        await run.poll("bindings")
        shown = run.state(PAIR)["desc"]
        assert len(shown) == MAX_STATE
        assert text.startswith(shown[:-1])
        assert run.devices[PAIR].attributes["desc"] == {"text": text}


async def test_list_too_long_is_cut_in_attributes() -> None:
    """Defect 5.6."""
    async with simulated(watch=WATCH) as (simulator, run):
        names = [f"policy {number} of a long list" for number in range(1000)]
        simulator.group_policies["/hello"] = names
        await run.poll("groups")
        attributes = run.devices[GROUP].attributes["netpolicy"]
        assert run.state(GROUP)["netpolicy"] == 1000
        assert attributes["policies"] == names[: len(attributes["policies"])]
        assert attributes["omitted"] == 1000 - len(attributes["policies"])
        assert len(str(attributes)) < 2 * MAX_ATTRIBUTES
