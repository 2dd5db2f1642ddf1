"""JSON as the document shows it, and the options."""

from __future__ import annotations

from typing import Any

import pytest
import voluptuous as vol

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms import smart_gateway
from fleet2mqtt.platforms.smart_gateway.json_repair import parse
from fleet2mqtt.sdk import vendor_json


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ('{"code": 0, "msg": success}', {"code": 0, "msg": "success"}),
        ('{"rateup": 58640 Kbps, "ratedown": 1.5Mbps\n}', {"rateup": "58640 Kbps", "ratedown": "1.5Mbps"}),
        ('{"code": 0, "msg ": [], }', {"code": 0, "msg": []}),
        ('{"list": [1, 2,\n],}', {"list": [1, 2]}),
        ('{"remark": "a: 5 Kbps, ]\\" ,}", "msg": success}', {"remark": 'a: 5 Kbps, ]" ,}', "msg": "success"}),
        ('{"lan": {"ip": "a"}\n\t"mapping": [1]\n"x": 2}', {"lan": {"ip": "a"}, "mapping": [1], "x": 2}),
        ('{"top": 1, //0 false 1 true\n"url": "http://x" // y\n}', {"top": 1, "url": "http://x"}),
        ('{"remark": "a: success,}"}', {"remark": "a: success,}"}),
        ('\ufeff{"别名": "上海1",}', {"别名": "上海1"}),
    ],
)
def test_parse_repairs_the_documents_deviations(data: str, value: Any) -> None:
    assert parse(data.encode()) == value


def test_parse_replaces_passwords_by_digests_in_repaired_json() -> None:
    data = b'{"hotspot": {"passwd": "4564187"}, "0": {"wifiKey": "abc"}, "rateup": 5 Kbps}'
    assert parse(data) == {
        "hotspot": {"passwd": vendor_json.secret_digest("4564187")},
        "0": {"wifiKey": vendor_json.secret_digest("abc")},
        "rateup": "5 Kbps",
    }


@pytest.mark.parametrize("data", ["<html>", '{"a": 1 "b": 2}', '{"msg": success', '{"a": b,}'])
def test_parse_of_irreparable_data_raises_the_first_error(data: str) -> None:
    with pytest.raises(InvalidResponse) as mended:
        parse(data.encode())
    with pytest.raises(InvalidResponse) as strict:
        vendor_json.parse(data.encode())
    assert str(mended.value) == str(strict.value)


def test_options_have_defaults() -> None:
    assert vol.Schema(smart_gateway.SCHEMA)({}) == {
        "scan_interval": {"devices": 30, "details": 60, "mappings": 60},
        "page_size": 50,
        "concurrency": 2,
        "first_page": 1,
        "query": "all",
        "set_path": "/api/v1/devices/set",
        "set_body": "minimal",
        "running_states": ["running", "online", "1"],
        "up_states": ["1", "up", "online", "connected"],
        "area": "none",
        "billing_day": 1,
        "units": {"traffic": "kB", "flow": "GB"},
    }


@pytest.mark.parametrize(
    "options",
    [
        {"first_page": 2},
        {"page_size": 0},
        {"page_size": True},
        {"query": []},
        {"query": "some"},
        {"set_path": "api/set"},
        {"set_body": "all"},
        {"units": {"traffic": "Mbps"}},
        {"units": {"flow": 5}},
        {"running_states": []},
        {"running_states": [True]},
        {"running_states": [" "]},
        {"area": "group"},
        {"scan_interval": {"charts": 5}},
    ],
)
def test_invalid_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(vol.Invalid):
        vol.Schema(smart_gateway.SCHEMA)(options)
