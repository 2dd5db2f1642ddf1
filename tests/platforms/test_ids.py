"""Ids that are texts to the vendor and numbers to YAML, JSON and templates: either will do, and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import voluptuous as vol

from fleet2mqtt.sdk.json_schema import json_schema

BINDING = {"enable": True, "name": "a", "addr_type": "mac", "addr": "1.1.1.1", "limitlogon": True}
LOCK = {"deviceType": 701, "deviceId": "a"}
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    ("ums", "fxo_status", {"device_mac": "000EA93D022E"}, "device_mac"),
    ("ums", "alarm_history", {"metric_history_producer": "000EA93D022E"}, "metric_history_producer"),
    ("ums", "login", {"account": "a", "password": "b"}, "account"),
    ("smart_gateway", "device_register", {"sn": "a", "alias": "b"}, "sn"),
    ("smart_gateway", "device_set", {"sn": "a", "base": {"remark": "b"}}, "sn"),
    ("smart_gateway", "device_list", {}, "condition"),
    ("smart_gateway", "mapping_edit", {"uuid": "a"}, "uuid"),
    ("smart_gateway", "mapping_assign", {"rule": "a", "sn": "b", "ip": "10.0.0.1"}, "rule"),
    ("sangfor_ac", "user_get", {"name": "a"}, "name"),
    ("sangfor_ac", "user_net_policy_list", {"user": "a"}, "user"),
    ("sangfor_ac", "user_search", {"search_value": "a"}, "search_value"),
    ("sangfor_ac", "user_binding_search", {}, "search"),
    ("sangfor_ac", "user_binding_add", BINDING, "name"),
    ("sangfor_ac", "user_login", {"ip": "10.0.0.1", "name": "a"}, "name"),
    ("sangfor_ac", "app_rank", {}, "line"),
    ("thingscloud", "device_get", {"device_id": "a"}, "device_id"),
    ("thingscloud", "device_command", {"device_id": "a", "method": "b"}, "device_id"),
    ("thingscloud", "attribute_history", {"device_id": "a", "identifier": "b"}, "identifier"),
    ("thingscloud", "device_list", {}, "group"),
    ("thingscloud", "device_create", {"name": "a"}, "device_key"),
    ("thingscloud", "device_type_extend_infos", {"device_type_id": "a"}, "device_type_id"),
    ("thingscloud", "customer_get", {"customer_id": "a"}, "customer_id"),
    ("thingscloud", "customer_info_set", {"customer_id": "a"}, "mobile"),
    ("omstation", "station_get", {"id": "a"}, "id"),
    ("omstation", "station_list", {}, "orgId"),
    ("omstation", "authorisation_list", {}, "key"),
    ("omstation", "authorisation_transfer", {"id": "a", "authInfo": [{"deviceType": 701, "count": 1}]}, "phoneNum"),
]
LISTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("ums", "alarm_statistics", {}, "macs"),
    ("smart_gateway", "device_query", {}, "sns"),
    ("smart_gateway", "device_chart", {"sn": "a"}, "channel"),
    ("smart_gateway", "mapping_delete", {}, "rules"),
    ("sangfor_ac", "group_policy_add", {"group": "/a"}, "policy"),
    ("thingscloud", "device_groups_set", {"device_id": "a"}, "groups"),
    ("thingscloud", "attributes_remove", {"device_id": "a"}, "keys"),
]
NUMBER = 112233445566
"""Which is a MAC, too."""


def schema_of(platform: str, action: str) -> vol.Schema:
    table = import_module(f"fleet2mqtt.platforms.{platform}.actions").ACTIONS
    return vol.Schema(dict(next(row.schema for row in table if row.name == action)))


@pytest.mark.parametrize(("platform", "action", "others", "name"), CASES)
def test_id_may_be_integer(platform: str, action: str, others: dict[str, Any], name: str) -> None:
    schema = schema_of(platform, action)
    assert schema({**others, name: NUMBER}) == schema({**others, name: str(NUMBER)})
    assert isinstance(schema({**others, name: NUMBER})[name], str)
    described = json_schema(schema.schema)["properties"][name]
    assert {"type": "integer"} in [{"type": each["type"]} for each in described["anyOf"]]
    for wrong in (True, float(NUMBER), -NUMBER, None, [NUMBER]):
        with pytest.raises(vol.MultipleInvalid):
            schema({**others, name: wrong})


@pytest.mark.parametrize(("platform", "action", "others", "name"), LISTS)
def test_so_may_each_in_a_list(platform: str, action: str, others: dict[str, Any], name: str) -> None:
    schema = schema_of(platform, action)
    assert schema({**others, name: [NUMBER]}) == schema({**others, name: [str(NUMBER)]})
    for wrong in (True, float(NUMBER), None):
        with pytest.raises(vol.MultipleInvalid):
            schema({**others, name: [wrong]})


def test_mac_of_digits_may_be_integer() -> None:
    binding = schema_of("sangfor_ac", "ip_mac_binding_add")({"ip": "10.0.0.1", "mac": NUMBER})
    assert binding["mac"] == "11-22-33-44-55-66"
    assert schema_of("sangfor_ac", "user_binding_delete")({"addr": NUMBER}) == {"addr": "11-22-33-44-55-66"}
    assert schema_of("ums", "alarm_statistics")({"macs": NUMBER}) == {"macs": [str(NUMBER)]}


def test_lock_number_may_be_integer() -> None:
    devices = schema_of("omstation", "device_register")({"deviceInfoList": [LOCK | {"deviceId": 7018800001}]})
    assert devices["deviceInfoList"] == [LOCK | {"deviceId": "7018800001"}]
