"""The vendor's wire models, by its own names, and the records that entity descriptions read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.sdk.vendor_json import Boolean, Number, Text, Timestamp, WireModel

# Loose types: a vendor sends "21.5" for 21.5 and "" for nothing. A field that was not sent is not in model_fields_set.


class Relay(WireModel):
    """An item of `devices`, example document section 2."""

    id: Text = None
    name: Text = None
    model: Text = None
    firmware: Text = None
    online: Boolean = None
    relay: Boolean = None
    limit: Number = None


class Reading(WireModel):
    """`reading` of a device, example document section 3. `temperature` in °C."""

    temperature: Number = None
    at: Timestamp = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayRecord:
    """A relay: its item in the list, and its reading once that was read.

    `reading_missed` is True if so many readings failed that the last one is too old to show.
    """

    relay: Relay
    reading: Reading | None = None
    reading_missed: bool = False


class Writer(Protocol):
    """The part of the coordinator that entities write with; declared here so that no modules import each other."""

    async def write_settings(self, device: Device, settings: Mapping[str, Any]) -> Update | None:
        """Send settings of a relay to the vendor."""
        ...
