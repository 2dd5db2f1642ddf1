"""Search over words, values and MAC addresses in any notation; natural order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.web.search import Query, natural_key, searchable
from tests.web.web_bench import CANARY, Vendor, bench, device

if TYPE_CHECKING:
    from pathlib import Path


def test_natural_order_compares_numbers_as_numbers() -> None:
    names = ["A10", "a2", "A2b", "B1", "10", "9", "", "A", "总部 12", "总部 3"]
    assert sorted(names, key=natural_key) == ["", "9", "10", "A", "a2", "A2b", "A10", "B1", "总部 3", "总部 12"]


def test_natural_order_takes_endless_numbers() -> None:
    assert natural_key("9" * 10_000) > natural_key("1")


@pytest.mark.parametrize(
    "wanted",
    [
        "000ea93d022e", "00:0E:A9:3D:02:2E", "00-0e-a9-3d-02-2e", "000E.A93D.022E", "00:0e:a9", "3d-02-2e", "a93d.022e",
        "00:0e:a9:", "branch 022e", "  BRANCH  seven ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("stored", ["000ea93d022e", "00:0E:A9:3D:02:2E", "00-0E-A9-3D-02-2E", "000e.a93d.022e"])
def test_search_finds_words_and_addresses_in_any_notation(stored: str, wanted: str) -> None:
    assert Query(wanted).matches(searchable(["Branch seven", stored]))


@pytest.mark.parametrize("wanted", ["00:0e:aa", "branch eight", "10.0.0.50", "22e0"])
def test_search_leaves_out_what_lacks_a_word(wanted: str) -> None:
    assert not Query(wanted).matches(searchable(["Branch seven", "00:0e:a9:3d:02:2e", "10.0.0.5"]))


async def test_devices_are_in_natural_order_and_found_by_value_and_address(tmp_path: Path) -> None:
    devices = (
        device(1, name="A10", connections=(("mac", "00:0e:a9:3d:02:2e"),)),
        device(2, name="A2", state={"signal": -51, "wifi_key": CANARY}),
        device(3, name="a1", groups={"7": "Branch 7"}, available=False),
    )

    async with bench(tmp_path, Vendor("hq", devices=devices)) as parts:

        async def found(wanted: str) -> list[str]:
            rows = (await parts.json(f"/api/status?filter={wanted}"))["devices"]["rows"]
            return [row["name"] for row in rows]

        assert await found("") == ["a1", "A2", "A10"]
        assert await found("000EA93D") == ["A10"]
        assert await found("00-0E-A9-3D-02-2E online") == ["A10"]
        assert await found("-51") == ["A2"]
        assert await found("om50 branch") == ["a1"]
        assert await found("离线") == ["a1"]
        assert await found(CANARY) == []


async def test_index_follows_changes_of_devices(tmp_path: Path) -> None:
    vendor = Vendor("hq", devices=(device(1, name="A1"), device(2, name="A2")))
    async with bench(tmp_path, vendor) as parts:
        await parts.json("/api/status?filter=x")
        vendor.devices = (device(1, name="B1"), device(2, name="A2", state={"signal": -33}), device(3, name="A3"))
        await parts.hub.accept(vendor.update())
        names = [row["name"] for row in (await parts.json("/api/status"))["devices"]["rows"]]
        assert names == ["A2", "A3", "B1"]
        assert [row["name"] for row in (await parts.json("/api/status?filter=-33"))["devices"]["rows"]] == ["A2"]
        await parts.hub.accept(vendor.update(removed=("hq_0002",)))
        assert (await parts.json("/api/status?filter=-33"))["devices"]["total"] == 2
