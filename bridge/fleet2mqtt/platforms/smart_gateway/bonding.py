"""Bonding health: what the channels of a gateway are worth together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet2mqtt.platforms.smart_gateway.models import Bonding, Channel
from fleet2mqtt.sdk import vendor_json


def is_up(channel: Channel, up_states: frozenset[str]) -> bool | None:
    """Return True if a channel's state is one of `up_states`, in lower case; None where the vendor sends none."""
    text = vendor_json.text(channel.state)
    return None if text is None else text.casefold() in up_states


@dataclass(slots=True)
class _Uplink:
    """An enabled channel."""

    up: bool | None
    channel: Channel

    def rate(self, name: str) -> float | None:
        """Return a rate in kbit/s: 0 for a channel that is down and sends none."""
        rate: float | None = getattr(self.channel, name)
        return 0 if rate is None and self.up is False else rate

    @property
    def is_active(self) -> bool | None:
        """True if data passes now; None where that is not known."""
        rates = (self.rate("rateup"), self.rate("ratedown"))
        if self.up is not True:
            return self.up
        return True if any(rates) else None if None in rates else False


def bonding_of(channels: Iterable[Channel], up_states: frozenset[str]) -> Bonding:
    """Return the health of the channels that fill a slot and are not disabled.

    A number to which a channel may add more than the vendor says is None: half a sum would look like a loss.
    """
    uplinks = [_Uplink(is_up(channel, up_states), channel) for channel in channels if channel.enable is not False]
    times = [one.channel.rtt for one in uplinks if one.up is not False and one.channel.rtt is not None]
    return Bonding(
        total=len(uplinks),
        up=_count([one.up for one in uplinks]),
        active=_count([one.is_active for one in uplinks]),
        rtt=max(times, default=None),
        rateup=_sum([one.rate("rateup") for one in uplinks]),
        ratedown=_sum([one.rate("ratedown") for one in uplinks]),
    )


def _count(flags: list[bool | None]) -> int | None:
    return None if None in flags else sum(map(bool, flags))


def _sum(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if len(known) == len(rates) else None
