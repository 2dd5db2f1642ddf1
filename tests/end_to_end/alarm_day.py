"""A day of alarms: a script of what happens, what each part of it is to be announced as, and the oracle that compares.

    step = Step("the gateway drops", act, Expected("gateway_offline", "raised"))

Events are compared by `seq`: a crash may repeat one, and what is repeated is the same event. What was published must be
exactly what the history has, and the types of each alarm exactly those of the script, in its order. What was withheld
only because suppression was about to end is announced once more: as `unsuppressed`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

EVENT, SUPPRESSED, EITHER = "event", "suppressed", "either"


@dataclass(frozen=True, slots=True)
class Expected:
    """An event of the day: the alarm type it is about, its own type, and on which topic it comes."""

    alarm: str
    type: str
    where: str = EVENT


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the day. `act` may be cut off at any moment, and is then done once more."""

    name: str
    act: Callable[[], Coroutine[Any, Any, None]]
    expected: tuple[Expected, ...]


@dataclass(slots=True)
class Oracle:
    """Compares what was published and what the history has with the script."""

    script: list[Expected] = field(default_factory=list)

    def problems(self, published: Iterable[tuple[str, dict[str, Any]]], history: Iterable[dict[str, Any]]) -> list[str]:
        """What is wrong: `published` has `event` or `suppressed` and the body of each message, `history` the bodies."""
        found: list[str] = []
        seen: dict[int, tuple[str, dict[str, Any]]] = {}
        for where, body in published:
            before = seen.setdefault(body["seq"], (where, body))
            if before != (where, body):
                found.append(f"seq {body['seq']} is two events: {before} and {where} {body}")
        stored = {body["seq"]: (body["id"], body["type"]) for body in history}
        shown = {seq: (body["id"], body["type"]) for seq, (_, body) in seen.items()}
        found += [f"not published: {seq} {stored[seq]}" for seq in sorted(stored.keys() - shown.keys())]
        found += [f"not in the history: {seq} {shown[seq]}" for seq in sorted(shown.keys() - stored.keys())]
        found += [f"differs in the history: {seq}" for seq in stored.keys() & shown.keys() if stored[seq] != shown[seq]]
        return found + self.unexpected(seen.values())

    def unexpected(self, published: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
        """Alarms whose events so far are not those of the script so far."""
        events = sorted({body["seq"]: (where, body) for where, body in published}.items())
        wanted, given = defaultdict[str, list[Expected]](list), defaultdict[str, list[Expected]](list)
        for each in self.script:
            wanted[each.alarm].append(each)
        for _, (where, body) in events:
            given[body["alarm_type"]].append(Expected(body["alarm_type"], body["type"], where))
        return [
            f"{alarm}: expected {wanted[alarm]}, published {given[alarm]}"
            for alarm in sorted(wanted.keys() | given.keys())
            if not _agree(wanted[alarm], given[alarm])
        ]


def _agree(wanted: list[Expected], given: list[Expected]) -> bool:
    rest = list(given)
    for each in wanted:
        if not rest or rest[0].type != each.type or each.where not in {rest[0].where, EITHER}:
            return False
        came = rest.pop(0)
        if each.where == EITHER and came.where == SUPPRESSED and rest[:1] == [Expected(each.alarm, "unsuppressed")]:
            del rest[0]
    return not rest
