"""What is known of one UMS: raw records kept beside the devices made of them, so that only what changed is made anew.

Newer news wins: `began` is `time.monotonic()` before the vendor was asked, or when it told us.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device
from fleet2mqtt.platforms.ums import entities
from fleet2mqtt.platforms.ums.entities import FleetRecord, GatewayRecord
from fleet2mqtt.platforms.ums.models import Counts, Detect, EventCount, Gateway, Status, in_zone, line_parts, mac_of
from fleet2mqtt.sdk import vendor_json

Row = dict[str, Any]


@dataclass(slots=True)
class _Line:
    raw: Row
    device: Device


@dataclass(slots=True)
class _Known:
    """A gateway, what it was made from, and its lines by their names."""

    raw: Row
    device: Device
    requested_at: float
    lines: dict[str, _Line] = field(default_factory=dict)
    lines_began: float = float("-inf")

    @property
    def record(self) -> GatewayRecord:
        found: GatewayRecord = self.device.record
        return found


class Fleet:
    """The gateways of one UMS by MAC, their lines, and the figures of all."""

    def __init__(self, backend: str, ids: Ids, zone: tzinfo, url: str) -> None:
        self.backend = backend
        self.zone = zone
        self.figures = FleetRecord()
        self._ids = ids
        self._url = url
        self._gateways: dict[str, _Known] = {}
        self._renewed: set[str] = set()
        """Gateways whose lines may say of them what no longer holds."""

    def id(self, mac: str) -> str:
        """The device id of a gateway, known or not."""
        known = self._gateways.get(mac)
        return self._ids(self.backend, mac) if known is None else known.device.id

    def macs(self) -> tuple[str, ...]:
        """The gateways known."""
        return tuple(self._gateways)

    def vendor_mac(self, mac: str) -> str:
        """A gateway's MAC as the UMS itself writes it."""
        known = self._gateways.get(mac)
        return (known and known.record.gateway.device_mac) or mac

    def online(self, mac: str) -> bool:
        """Whether a gateway is there to be asked; True where the UMS does not say."""
        known = self._gateways.get(mac)
        return known is not None and known.record.gateway.online is not False

    def knows_lines(self, mac: str) -> bool:
        """Whether the lines of a gateway have been listed."""
        known = self._gateways.get(mac)
        return known is not None and known.record.has_lines is not None

    def retain(self, macs: Iterable[str]) -> None:
        """Forget the gateways that are not among these."""
        for mac in set(self._gateways).difference(macs):
            del self._gateways[mac]

    def ids(self, macs: Iterable[str]) -> frozenset[str]:
        """The device ids of gateways known."""
        return frozenset([self._gateways[mac].device.id for mac in macs])

    def learn_page(self, macs: Iterable[str], rows: Iterable[Row], requested_at: float) -> list[Device]:
        """Take in entries of the device list, most of them the very objects that came before."""
        devices = []
        for mac, raw in zip(macs, rows, strict=True):
            known = self._gateways.get(mac)
            devices.append(known.device if known and known.raw is raw else self.learn(mac, raw, requested_at))
        return devices

    def learn(self, mac: str, raw: Row, requested_at: float) -> Device:
        """Take in an entry of the device list; the same device as before where nothing changed."""
        known = self._gateways.get(mac)
        if known is not None and (known.raw == raw or requested_at < known.requested_at):
            return known.device
        gateway = Gateway.model_validate(raw, context=in_zone(self.zone))
        if known is None:
            record = GatewayRecord(gateway=gateway)
            device = entities.gateway_device(self.backend, self.id(mac), mac, record)
            self._gateways[mac] = _Known(raw, device, requested_at)
            return device
        known.raw, known.requested_at = raw, requested_at
        return self._renew(mac, known, replace(known.record, gateway=gateway))

    def merge(self, mac: str, part: Row, requested_at: float) -> Device:
        """Take in some members of an entry, over those known."""
        known = self._gateways.get(mac)
        whole = part if known is None else known.raw | part | {"device_mac": known.raw["device_mac"]}
        return self.learn(mac, whole, requested_at)

    def count(self, rows: Iterable[Row], interval: str | None) -> list[Device]:
        """Take in alarm counts; gives the gateways concerned."""
        found = []
        for row in rows:
            mac = mac_of(row.get("metric_history_producer"))
            known = self._gateways.get(mac or "")
            if mac is not None and known is not None:
                counts = Counts.model_validate(row)
                found.append(self._renew(mac, known, replace(known.record, counts=counts, interval=interval)))
        return found

    def take_lines(self, mac: str, rows: Iterable[Row], requested_at: float, *, complete: bool) -> list[Device]:
        """Take in lines of a gateway; gives those listed, and the gateway where it is news whether it has any."""
        known = self._gateways.get(mac)
        if known is None or requested_at < known.lines_began:
            return []
        known.lines_began = requested_at
        before = known.device
        listed = {name: self._take_line(known, name, row) for row in rows if (name := line_name(row))}
        # Given again, a line that is gone would come back each time that the registry has dropped it.
        known.lines = listed if listed and complete else known.lines | listed
        if known.lines or complete:
            self._renew(mac, known, replace(known.record, has_lines=bool(known.lines)))
        devices = [line.device for line in listed.values()]
        return devices if known.device is before else [known.device, *devices]

    def turned(self) -> list[Device]:
        """The lines that their gateway's name or connection changed since they were made."""
        found = []
        renewed, self._renewed = self._renewed, set()
        for known in filter(None, map(self._gateways.get, renewed)):
            for name, line in known.lines.items():
                device = self._line_device(known.device, name, line.raw, line.device)
                if device is not line.device:
                    line.device = device
                    found.append(device)
        return found

    def figure(self, *, status: Status | None = None, events: tuple[EventCount, ...] | None = None) -> Device:
        """Take in figures of the whole fleet; gives the backend's own device."""
        if status is not None:
            self.figures = replace(self.figures, status=status)
        if events is not None:
            self.figures = replace(self.figures, events=events)
        return entities.fleet_device(self.backend, self._url, self.figures)

    def _renew(self, mac: str, known: _Known, record: GatewayRecord) -> Device:
        if record != known.record:
            known.device = entities.gateway_device(self.backend, known.device.id, mac, record)
            self._renewed.add(mac)
        return known.device

    def _take_line(self, known: _Known, name: str, row: Row) -> _Line:
        line = known.lines.get(name)
        device = self._line_device(known.device, name, row, line.device if line and line.raw == row else None)
        return _Line(row, device)

    def _line_device(self, gateway: Device, name: str, row: Row, before: Device | None) -> Device:
        """The device of a line; `before` if that still says the same of its gateway."""
        if before is not None and entities.still_of(gateway, before, name):
            return before
        id_ = self._ids(self.backend, gateway.vendor_id, *line_parts(name))
        return entities.line_device(id_, gateway, name, Detect.model_validate(row))


def line_name(row: Row) -> str | None:
    """What a line is called, such as FXO-7."""
    return vendor_json.text(row.get("line"))


def row_mac(row: Row) -> str | None:
    """The MAC that tells a device from others."""
    return mac_of(row.get("device_mac"))
