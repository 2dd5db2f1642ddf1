"""Execution of commands: the writes that are sent together, and their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.commands.queue import CommandLimits
from fleet2mqtt.errors import Ambiguous, Rejected, Unconfirmed, Unreachable
from tests.commands.command_bench import Vendor, bench
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.errors import BackendError
    from tests.broker import Broker


async def test_set_with_keys_of_one_group_makes_one_call_with_a_result_each(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor()
    async with bench(broker, tmp_path, vendor) as parts:
        parts.submit(ip="1", name="n", mask="2", gateway="3")
        results = await parts.results(4)
    assert vendor.calls == [{"ip": "1", "mask": "2", "gateway": "3"}, {"name": "n"}]
    assert {key: (each["status"], each["observed"]) for key, each in results.items()} == {
        "ip": ("confirmed", "1"),
        "mask": ("confirmed", "2"),
        "gateway": ("confirmed", "3"),
        "name": ("confirmed", "n"),
    }


async def test_set_with_one_key_of_a_group_makes_the_call_of_that_key(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor()
    async with bench(broker, tmp_path, vendor) as parts:
        parts.submit(ip="1")
        assert (await parts.results(1))["ip"]["status"] == "confirmed"
    assert vendor.calls == [{"ip": "1"}]


async def test_group_of_which_one_key_is_not_shown_leaves_that_key_unconfirmed(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor(ignored=frozenset(("mask",)))
    async with bench(broker, tmp_path, vendor) as parts:
        parts.submit(ip="1", mask="2")
        results = await parts.results(2)
    assert {key: each["status"] for key, each in results.items()} == {"ip": "confirmed", "mask": "unconfirmed"}
    assert results["mask"]["observed"] == "old"


async def test_group_with_an_invalid_value_is_refused_as_a_whole(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor()
    async with bench(broker, tmp_path, vendor) as parts:
        parts.submit(ip=1, mask="2", name="n")
        results = await parts.results(3)
    assert vendor.calls == [{"name": "n"}]
    assert {key: each["status"] for key, each in results.items()} == {
        "ip": "invalid",
        "mask": "invalid",
        "name": "confirmed",
    }
    assert results["mask"]["error"]["message"].startswith("ip is refused, and is written together with this key")


async def test_group_that_the_vendor_rejects_ends_rejected_for_each_key(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor(error=Rejected("no", code=5))
    async with bench(broker, tmp_path, vendor) as parts:
        parts.submit(ip="1", mask="2")
        results = await parts.results(2)
    assert {key: (each["status"], each["error"]["code"], each["observed"]) for key, each in results.items()} == {
        "ip": ("rejected", 5, "old"),
        "mask": ("rejected", 5, "old"),
    }


async def test_key_of_a_running_group_superseded_leaves_the_rest_of_the_group(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor(ignored=frozenset(("mask",)))
    async with bench(broker, tmp_path, vendor, CommandLimits(confirm_timeout=60)) as parts:
        parts.submit(ip="1", mask="2")
        await vendor.accepted.wait()
        vendor.ignored = frozenset()
        parts.submit(mask="3")
        await wait_until(lambda: len(parts.seen.all("fleet2mqtt/device/+/result")) == 3, "three results")
        results = [(message.json["key"], message.json["status"]) for message in parts.seen.all("+/device/+/result")]
    assert results == [("ip", "confirmed"), ("mask", "superseded"), ("mask", "confirmed")]


async def test_queue_without_room_for_a_whole_group_refuses_each_key(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor()
    async with bench(broker, tmp_path, vendor, CommandLimits(max_pending=1)) as parts:
        parts.submit(ip="1", mask="2")
        results = await parts.results(2)
    assert {each["error"]["code"] for each in results.values()} == {"queue_full"}
    assert vendor.calls == []


@pytest.mark.parametrize(
    ("ignored", "error", "status"),
    [
        ((), None, "confirmed"),
        (("online",), None, "unconfirmed"),
        ((), Ambiguous("lost"), "failed"),
        ((), Unreachable("no connection"), "failed"),
        ((), Rejected("no"), "rejected"),
    ],
)
async def test_button_with_a_visible_effect_ends_by_that_effect(
    broker: Broker, tmp_path: Path, ignored: tuple[str, ...], error: BackendError | None, status: str
) -> None:
    vendor = Vendor(ignored=frozenset(ignored), error=error)
    async with bench(broker, tmp_path, vendor) as parts:
        parts.submit(log_out="PRESS")
        result = (await parts.results(1))["log_out"]
    assert (result["status"], result["observed"]) == (status, None)
    assert result["error"] is None or result["error"]["code"] in {"not_shown", "ambiguous", "unreachable", "rejected"}


@pytest.mark.parametrize("key", ["name", "restart"])
async def test_write_that_cannot_be_confirmed_ends_unconfirmed(broker: Broker, tmp_path: Path, key: str) -> None:
    """The vendor shows the value, but says that the device has not got it (faults 3.4)."""
    vendor = Vendor(error=Unconfirmed("the device is offline", code="device_offline"))
    async with bench(broker, tmp_path, vendor) as parts:
        parts.submit(**{key: "PRESS" if key == "restart" else "old"})
        result = (await parts.results(1))[key]
    assert (result["status"], result["error"]["code"]) == ("unconfirmed", "device_offline")
    assert result["observed"] == ("old" if key == "name" else None)


async def test_button_whose_response_was_lost_ends_confirmed_by_its_effect(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor(error=Ambiguous("lost"))
    vendor.state["online"] = "OFF"
    async with bench(broker, tmp_path, vendor) as parts:
        parts.submit(log_out="PRESS")
        assert (await parts.results(1))["log_out"]["status"] == "confirmed"


async def test_button_that_removes_its_device_ends_confirmed(broker: Broker, tmp_path: Path) -> None:
    async with bench(broker, tmp_path, Vendor(removes=True)) as parts:
        parts.submit(log_out="PRESS")
        assert (await parts.results(1))["log_out"]["status"] == "confirmed"
        assert parts.registry.devices == {}


async def test_button_without_a_visible_effect_ends_by_the_vendors_word(broker: Broker, tmp_path: Path) -> None:
    async with bench(broker, tmp_path, Vendor(ignored=frozenset(("online",)))) as parts:
        parts.submit(restart="PRESS")
        assert (await parts.results(1))["restart"]["status"] == "confirmed"


async def test_command_for_a_backend_that_was_removed_ends_not_ready(broker: Broker, tmp_path: Path) -> None:
    vendor = Vendor()
    async with bench(broker, tmp_path, vendor) as parts:
        parts.backends.clear()
        parts.submit(name="n")
        result = (await parts.results(1))["name"]
    assert (result["status"], result["error"]["code"]) == ("failed", "not_ready")
    assert vendor.calls == []
