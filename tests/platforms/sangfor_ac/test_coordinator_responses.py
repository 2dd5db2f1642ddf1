"""Coordinator: responses that differ from the document, and responses that say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import InvalidResponse
from tests.platforms.sangfor_ac.connected import GROUP, NAME, SOURCES, USER, WATCH, calls, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run


@pytest.mark.parametrize(
    ("quirk", "items"),
    [
        ({}, {"send": 12_480_000, "recv": 58_440_000}),
        ({"unit_ignored": True}, {"send": 12_480_000, "recv": 58_440_000}),
        ({"unit_ignored": True, "unit_missing": True}, {"send": 12_480_000, "recv": 58_440_000}),
        ({"numbers_as_text": True}, {"send": 12_480_000, "recv": 58_440_000}),
    ],
)
@pytest.mark.parametrize("unit", ["bits", "bytes"])
async def test_throughput_unit_of_response_decides(quirk: dict[str, bool], items: dict[str, int], unit: str) -> None:
    async with simulated(throughput={"unit": unit}) as (simulator, run):
        for name, value in quirk.items():
            setattr(simulator, name, value)
        await run.poll("status")
        assert calls(simulator, "status/throughput")[0].body["filter"] == {"unit": unit}
        assert {name: run.state(NAME)[f"throughput_{name}"] for name in items} == items


async def test_throughput_interface_option_is_sent() -> None:
    async with simulated(throughput={"interface": "eth2"}) as (simulator, run):
        await run.poll("status")
        assert calls(simulator, "status/throughput")[0].body["filter"] == {"unit": "bits", "interface": "eth2"}
        assert run.state(NAME)["throughput_send"] == 2_480_000


async def test_throughput_interfaces_have_entities_of_their_own() -> None:
    """Defect 4.6."""
    async with simulated(throughput={"interfaces": ["eth0", "eth2"]}) as (simulator, run):
        await run.poll("status")
        filters = [call.body["filter"] for call in calls(simulator, "status/throughput")]
        assert filters == [{"unit": "bits"}, *({"unit": "bits", "interface": name} for name in ("eth0", "eth2"))]
        state = run.state(NAME)
        keys = ("throughput_send", "throughput_eth0_send", "throughput_eth2_send", "throughput_eth2_recv")
        assert [state[key] for key in keys] == [12_480_000, 10_000_000, 2_480_000, 7_240_000]


@pytest.mark.parametrize(("unit", "device_class"), [("B/s", "data_rate"), ("kbit/s", "data_rate"), ("B", "data_size")])
async def test_rank_unit_option_decides_device_class(unit: str, device_class: str) -> None:
    """Defect 4.5."""
    async with simulated(rank_unit=unit) as (_, run):
        await run.poll("status")
        rank = run.devices[NAME].entity("user_rank")
        assert rank is not None
        assert (rank.unit, rank.device_class) == (unit, device_class)
        assert run.devices[NAME].attributes["app_rank"]["unit"] == unit


async def test_group_policies_as_objects_are_parsed(polled: tuple[Simulator, Run]) -> None:
    """Defect 4.6."""
    simulator, run = polled
    text = '{"code": 0, "data": [{"name": "policy1", "type": "x"}, {"policy_info": {"name": "hello"}}]}'
    simulator.fault_injector.inject("garbage", "/v1/group/netpolicy", text=text)
    await run.poll("groups")
    state = run.state(GROUP)
    assert [state[f"netpolicy_{name}"] for name in ("policy1", "policy2", "hello")] == ["ON", "OFF", "ON"]
    simulator.fault_injector.clear()
    text = '{"code": 0, "data": ["policy1", {"type": "x"}]}'
    simulator.fault_injector.inject("garbage", "/v1/group/netpolicy", text=text)
    with pytest.raises(InvalidResponse, match="without a name"):
        await run.poll("groups")
    assert run.state(GROUP) == state


async def test_channel_line_as_number_is_a_text(polled: tuple[Simulator, Run]) -> None:
    """Defect 4.6."""
    simulator, run = polled
    simulator.flux_policies[0]["line"] = 1
    await run.poll("policies", "status")
    channel = run.devices[run.named("flux_policies", simulator.flux_policies[0]["name"])]
    assert channel.attributes["policy_enable"]["line"] == "1"
    assert {item["line"] for item in run.devices[NAME].attributes["app_rank"]["rank"]} <= {"1", "2"}


async def test_responses_numbers_as_texts_and_braces_give_same_state(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    before = {id_: dict(device.state) for id_, device in run.devices.items()}
    simulator.numbers_as_text = True
    simulator.braces_for_empty = True
    await run.poll()
    moving = {"sys_time", "online_time"}
    for id_, state in before.items():
        assert {k: v for k, v in run.state(id_).items() if k not in moving} == {
            k: v for k, v in state.items() if k not in moving
        }
    simulator.group_policies["/hello"] = []
    simulator.online.clear()
    await run.poll("groups", "online_users")
    assert run.state(GROUP)["netpolicy"] == 0
    assert run.state(USER)["online"] == "OFF"


@pytest.mark.parametrize("old", [False, True])
async def test_channels_flat_form_is_parsed(old: bool) -> None:
    async with simulated() as (simulator, run):
        simulator.device_fluxpolicy = True
        simulator.old_father_id = old
        await run.poll("policies")
        channel = run.devices[run.named("flux_policies", "1")]
        assert (channel.name, channel.id) == ("Channel 时延敏感型应用保障", f"{NAME}_flux_policy_1")
        assert channel.attributes["policy_enable"]["ip_group"] == "全部"  # `di`, faults 4.6
        assert channel.state["policy_enable"] == "ON"
        assert channel.state["max_bandwidth_down"] == 100_000_000
        assert channel.state["single_user_limit_up"] is None
        child = run.devices[run.named("flux_policies", "2")]
        assert child.name == "Channel 时延敏感型应用保障/视频会议保障"
        assert child.state["single_user_limit_down"] == 8_000_000


async def test_channels_table_spelling_is_parsed() -> None:
    async with simulated() as (simulator, run):
        await run.poll("policies")
        before = {id_: device for id_, device in run.devices.items() if device.scope == "flux_policies"}
        simulator.table_spelling = True
        await run.poll("policies")
        assert {id_: run.devices[id_] for id_ in before} == before
        assert len(before) == 4


async def test_response_without_data_keeps_state(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    before = {id_: dict(device.state) for id_, device in run.devices.items()}
    simulator.empty_bodies = {"*"}
    for source in SOURCES:
        with pytest.raises(InvalidResponse):
            await run.poll(source)
    assert {id_: dict(device.state) for id_, device in run.devices.items()} == before
    simulator.empty_bodies = {"/v1/status/c*", "/v1/status/throughput"}
    await run.poll("status")
    assert run.state(NAME)["cpu_usage"] == before[NAME]["cpu_usage"]


async def test_response_only_success_publishes_no_zeros() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.fault_injector.inject("garbage", text='{"code": 0, "message": "Successfully"}')
        for source in SOURCES:
            with pytest.raises(InvalidResponse):
                await run.poll(source)
        assert not any(value for device in run.devices.values() for value in device.state.values())
        assert set(run.devices) <= {NAME}


@pytest.mark.parametrize("data", ["null", '""', "[]", "{}", '"x"', "false", '{"x": 1}'])
async def test_response_odd_data_publishes_nothing(data: str) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.fault_injector.inject("garbage", text=f'{{"code": 0, "data": {data}}}')
        for source in SOURCES:
            try:
                await run.poll(source)
            except InvalidResponse as error:
                assert error.code == "no_data"  # noqa: PT017 - what is raised depends on what the call expects
        for device in run.devices.values():
            assert not [v for k, v in device.state.items() if v not in (None, 0, "OFF") and k != "version"]
