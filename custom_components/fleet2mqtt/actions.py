"""The actions as a table: which backends they are for, and what they take.

The checks here catch what a form can get wrong; the bridge has the full ones and answers in words. A field whose
vendor's name Home Assistant does not allow (`startTime`) or would misread (`device_id`) is listed in `renamed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import voluptuous as vol
from homeassistant.helpers import config_validation as cv

UMS = "ums"
SMART_GATEWAY = "smart_gateway"
SANGFOR_AC = "sangfor_ac"
THINGSCLOUD = "thingscloud"

Fields = dict[Any, Any]

_WORD = vol.All(cv.string, vol.Length(min=1, max=255))
_WORDS = vol.All(cv.ensure_list, [_WORD], vol.Length(min=1))
_ANY_WORDS = vol.All(cv.ensure_list, [_WORD])
_TIME = vol.All(cv.datetime, lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S"))
_PROTOCOL = vol.All(vol.Coerce(int), vol.In((0, 1, 2)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action, named alike here and at the bridge. `changes` says that it does something at the vendor."""

    name: str
    platform: str
    fields: Fields
    changes: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """What goes to the bridge of what the user gave."""
        return {self.renamed.get(key, key): value for key, value in data.items()}


def _required(**rows: Any) -> Fields:
    return {vol.Required(name): check for name, check in rows.items()}


def _optional(**rows: Any) -> Fields:
    return {vol.Optional(name): check for name, check in rows.items()}


_PAGE = _optional(
    limit=vol.All(vol.Coerce(int), vol.Range(min=1, max=1000)), offset=vol.All(vol.Coerce(int), vol.Range(min=0))
)
_ASSIGN = _required(rule=_WORD, sn=_WORD, ip=_WORD)
_GROUP_POLICY = _required(group=_WORD, policy=_WORDS)
_TO_DEVICE = _required(device=_WORD)


def _gateways() -> tuple[Action, ...]:
    def action(name: str, fields: Fields, *, changes: bool = True) -> Action:
        return Action(name=name, platform=SMART_GATEWAY, fields=fields, changes=changes)

    rule = {"port": cv.string, "protocol": _PROTOCOL}
    edited = _optional(name=_WORD, ip=_WORD, **rule, mark=cv.string)
    return (
        action("mapping_list", {}, changes=False),
        action("mapping_add", _required(name=_WORD, ip=_WORD, **rule) | _optional(mark=cv.string)),
        action("mapping_edit", _required(uuid=_WORD) | edited),
        action("mapping_delete", _required(rules=_WORDS)),
        action("mapping_assign", _ASSIGN),
        action("mapping_reassign", _ASSIGN),
        action("mapping_unassign", _required(sn=_WORD, rules=_WORDS)),
        action("device_register", _required(sn=_WORD, alias=_WORD)),
        action("device_delete", _required(sn=_WORD)),
    )


def _of_controllers(name: str, fields: Fields, *, changes: bool = True) -> Action:
    return Action(name=name, platform=SANGFOR_AC, fields=fields, changes=changes)


def _access_controllers() -> tuple[Action, ...]:
    action = _of_controllers
    binding = _required(
        enable=cv.boolean, name=_WORD, addr_type=vol.In(("ip", "mac", "ipmac")), addr=_WORD, limitlogon=cv.boolean
    )
    online = _optional(
        status=vol.In(("all", "frozen", "active")),
        terminal=vol.In(("all", "pc", "mobile", "multi", "iot", "armarium", "custom")),
        filter=vol.Schema({vol.Required("type"): vol.In(("user", "ip", "mac")), vol.Required("value"): cv.ensure_list}),
    )
    return (
        action("group_policy_list", _required(path=_WORD), changes=False),
        action("group_policy_add", _GROUP_POLICY),
        action("group_policy_delete", _GROUP_POLICY),
        action("group_policy_modify", _required(group=_WORD, policy=_ANY_WORDS)),
        *_policies_of_users(),
        action("user_binding_search", _required(search=_WORD), changes=False),
        action("user_binding_add", binding | _optional(desc=cv.string, noauth=dict)),
        action("user_binding_delete", _required(addr=_WORD)),
        action("ip_mac_binding_search", _required(search=_WORD), changes=False),
        action("ip_mac_binding_add", _required(ip=_WORD, mac=_WORD) | _optional(desc=cv.string)),
        action("ip_mac_binding_delete", _required(ip=_WORD)),
        action("online_users", online, changes=False),
        action("user_logout", _required(ip=_WORD)),
    )


def _policies_of_users() -> tuple[Action, ...]:
    """For the net policies of single users, and for their bandwidth channels."""
    user = _required(user=_WORD) | _optional(dn=_WORD)
    some, those = user | _required(policy=_WORDS), user | _required(policy=_ANY_WORDS)
    return (
        _of_controllers("user_net_policy_list", user, changes=False),
        _of_controllers("user_net_policy_add", some),
        _of_controllers("user_net_policy_delete", some),
        _of_controllers("user_net_policy_modify", those),
        _of_controllers("user_flux_policy_list", user, changes=False),
        _of_controllers("user_flux_policy_add", some),
        _of_controllers("user_flux_policy_delete", some),
        _of_controllers("user_flux_policy_modify", those),
    )


def _things() -> tuple[Action, ...]:
    def action(name: str, fields: Fields) -> Action:
        renamed = {"device": "device_id"}  # Home Assistant would take device_id for one of its own
        return Action(name=name, platform=THINGSCLOUD, fields=_TO_DEVICE | fields, changes=True, renamed=renamed)

    command = _required(method=_WORD) | _optional(params=dict, id=vol.Coerce(int))
    data = _required(identifier=_WORD, type=vol.In(("text", "json", "hex")), msg=vol.Any(dict, cv.string))
    return (
        action("device_command", command),
        action("device_data", data | _optional(push_mode=vol.In(("mqtt", "tcp")))),
        action("cloud_attributes_set", _required(attributes=dict)),
    )


def _telephony() -> tuple[Action, ...]:
    def action(name: str, fields: Fields, **more: Any) -> Action:
        return Action(name=name, platform=UMS, fields=fields, **more)

    window = _optional(start_time=_TIME, end_time=_TIME)
    return (
        action("fxo_test", _required(device_mac=_WORD) | _PAGE, changes=True),
        action("alarm_statistics", _required(macs=_WORDS)),
        action("event_statistics", window | _PAGE, renamed={"start_time": "startTime", "end_time": "endTime"}),
        action("alarm_history", _required(device_mac=_WORD) | _PAGE, renamed={"device_mac": "metric_history_producer"}),
    )


ACTIONS = (*_gateways(), *_access_controllers(), *_things(), *_telephony())
