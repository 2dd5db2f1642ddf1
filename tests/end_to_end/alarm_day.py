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
    from collections.abc import Callable, Coroutine, Iterable, Mapping

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
        """Return the problems of a day: `published` has `event` or `suppressed` and the body of each message.

        `history` has the bodies.
        """
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


RAISED, CLEARED = "raised", "cleared"
_MAILS = {"raised": RAISED, "unsuppressed": RAISED, "cleared": CLEARED, "closed": CLEARED}


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail of the day: the alarm that it is about by name and event id, and if that was raised or has ended."""

    alarm: str
    kind: str
    id: str

    @classmethod
    def of(cls, subject: str, text: str) -> Mail:
        lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
        alarm = lines["Alarm"].partition(", line")[0]
        return cls(alarm, CLEARED if subject.startswith("Cleared: ") else RAISED, lines["Id"])


def shown_events(changes: Iterable[Mapping[str, Any]]) -> list[int]:
    """Return the `seq` of each event that Home Assistant's event entities showed, from its `state_changed` events.

    Two events can have one time, as an entity shows milliseconds. An entity that was unavailable shows the event before
    once more.
    """
    shown: list[int] = []
    latest: dict[str, tuple[str, int]] = {}
    for change in changes:
        state = change["data"].get("new_state") or {}
        name = state.get("entity_id", "")
        if name.startswith("event.") and "seq" in state["attributes"]:
            event = state["state"], state["attributes"]["seq"]
            if latest.get(name) != event:
                shown.append(event[1])
            latest[name] = event
    return shown


def mail_problems(
    script: Iterable[Expected], mails: Iterable[Mail], repeats: int, ends: Mapping[str, str]
) -> list[str]:
    """Return the problems of a day's mails: each change that is not withheld has one.

    The last mail before a crash may come again, `repeats` times in all. `ends` are alarms that another one ends.
    """
    wanted, given = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for each in script:
        if each.where != SUPPRESSED and (kind := _MAILS.get(each.type)):
            wanted[ends.get(each.alarm, each.alarm)].append(kind)
    last, again = None, 0
    for mail in mails:
        if mail == last:
            again += 1
        else:
            given[mail.alarm].append(mail.kind)
        last = mail
    found = [
        f"{alarm}: expected {wanted[alarm]}, mailed {given[alarm]}"
        for alarm in sorted(wanted.keys() | given.keys())
        if wanted[alarm] != given[alarm]
    ]
    return found + ([f"{again} mails came again, after {repeats} crashes"] if again > repeats else [])
