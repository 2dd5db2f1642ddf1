"""The table of all measurements, and where it stands in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import alarms, cluster, cold, command, fleet, polling, publishing, push
from benchmarks.load import quantile
from benchmarks.push import ratio

BEGIN, END = "<!-- scripts/bench writes from here", "<!-- to here -->"
FLEETS_BEGIN = "<!-- scripts/bench writes large fleets from here"
WHAT = "32 connections: delivered/s"
LATENCY = "… POST → subscriber, ms p50 / p99"
COST = "… processor µs an event / RSS MiB"
MANY = 10_000
"""Devices for which the goal of a poll is set."""
MOST_COST = 190
"""Microseconds of processor time an event."""
NOISE = 1.1
"""Factor by which a figure that must not grow may, on a machine that others use."""
BRIDGE, RED, SCRIPT, ECOWITT = "fleet2mqtt", "Node-RED 5", "aiohttp + aiomqtt", "ecowitt2mqtt"
MANAGED = "fleet2mqtt with rules and notifications"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: what, ours, theirs, the ratio, and the goal, where there is one."""

    what: str
    ours: str
    theirs: str = ""
    ratio: float | None = None
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool:
        """Return True if there is no goal, or it is met."""
        if self.ratio is None:
            return True
        return (self.most is None or self.ratio <= self.most) and (self.least is None or self.ratio >= self.least)

    @property
    def goal(self) -> str:
        """The goal, "" for none."""
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}" if self.most is not None else ""

    def text(self) -> str:
        """Return the row as a line of Markdown."""
        verdict = "" if not self.goal else "met" if self.met else "**missed**"
        shown = "" if self.ratio is None else f"{self.ratio:.2f}"
        return f"| {self.what} | {self.ours} | {self.theirs} | {shown} | {self.goal} | {verdict} |"


def of_push(found: Mapping[str, push.Figures]) -> list[Line]:
    """Push → MQTT."""
    bridges = {name: found[name] for name in (BRIDGE, MANAGED) if name in found}
    peers = {name: found[name] for name in found if name not in bridges}
    lines: list[Line] = []
    for name, ours in bridges.items():
        lines += [
            Line(what=f"push → MQTT, {name}, {WHAT}", ours=_rate(ours)),
            Line(what=LATENCY, ours=_latency(ours)),
            Line(what=COST, ours=_cost(ours), ratio=median(ours.cpu) * 1e3, most=MOST_COST),
        ]
        for peer, theirs in peers.items():
            if name == BRIDGE or peer in {RED, SCRIPT}:
                lines += _beside(f"{name} beside {peer}", peer, ours, theirs)
    return lines


def of_quiet(found: Mapping[str, push.Quiet]) -> list[Line]:
    """Push → MQTT without a flood."""
    lines: list[Line] = []
    for name, figures in found.items():
        what = "POST → subscriber, ms p99"
        lines += [
            _within(f"push → MQTT, {name}, 1 connection: {what}", median(figures.alone), 5.0),
            _within(f"… {push.STEADY} alarms a second: {what}", median(figures.steady), 5.0),
        ]
    return lines


def of_http(found: push.Figures) -> list[Line]:
    """HTTP alone, the least that a push costs."""
    answered, cost = median(found.accepted), median(found.cpu) * 1e3
    return [
        Line(
            what="aiohttp's low-level server that answers 200 alone: requests/s / processor µs each",
            ours=f"{answered:,.0f} / {cost:.0f}",
        )
    ]


def of_alarms(found: alarms.Figures) -> list[Line]:
    """Many active alarms, and a storm."""
    return [
        _within(f"page of {found.active:,} active alarms, ms p50", median(found.pages) * 1e3, 50.0),
        _within(f"{found.events:,} raises and clears: s until the last is delivered", found.seconds, 60.0),
        _within("… lost", found.lost, 0, 0),
        _within("… active afterwards", found.left, 0, 0),
    ]


def _within(what: str, value: float, most: float, digits: int = 1) -> Line:
    """Return the line of a figure that has a goal of its own, and nothing beside it."""
    return Line(what=what, ours=f"{value:.{digits}f}", ratio=value, most=most)


def _beside(both: str, peer: str, ours: push.Figures, theirs: push.Figures) -> list[Line]:
    least = {RED: 1.5, SCRIPT: 1.0, ECOWITT: 1.0}.get(peer)
    most_p99, most_cpu = (0.5, 0.58) if peer == RED else (None, None)
    rate, p99, cpu = ratio(ours.rate, theirs.rate), ratio(ours.p99, theirs.p99), ratio(ours.cpu, theirs.cpu)
    what = f"push → MQTT, {both}, {WHAT}"
    return [
        Line(what=what, ours=_rate(ours), theirs=_rate(theirs), ratio=rate, least=least),
        Line(what=f"{LATENCY}; ratio of p99", ours=_latency(ours), theirs=_latency(theirs), ratio=p99, most=most_p99),
        Line(what=f"{COST}; ratio of µs", ours=_cost(ours), theirs=_cost(theirs), ratio=cpu, most=most_cpu),
    ]


def _rate(found: push.Figures) -> str:
    return f"{median(found.rate):,.0f}"


def _latency(found: push.Figures) -> str:
    return f"{median(found.p50):.1f} / {median(found.p99):.1f}"


def _cost(found: push.Figures) -> str:
    return f"{median(found.cpu) * 1e3:.0f} / {median(found.rss):.0f}"


def of_publishing(found: publishing.Figures) -> list[Line]:
    """Messages a second."""
    return [
        Line(
            what="publishing 200 B at QoS 1, messages/s, beside bare paho",
            ours=f"{median(found.bridge):,.0f}",
            theirs=f"{median(found.bare):,.0f}",
            ratio=ratio(found.bridge, found.bare),
            least=1.5,
        ),
        Line(
            what="… processor µs a message",
            ours=f"{median(found.bridge_cpu):.0f}",
            theirs=f"{median(found.bare_cpu):.0f}",
            ratio=ratio(found.bridge_cpu, found.bare_cpu),
        ),
        Line(
            what="… packets made beforehand, by a bare socket: messages/s / processor µs a message",
            ours=f"{median(found.socket):,.0f} / {median(found.socket_cpu):.0f}",
            theirs=f"{median(found.bare):,.0f} / {median(found.bare_cpu):.0f}",
            ratio=ratio(found.socket, found.bare),
        ),
    ]


def of_polls(sizes: Iterable[polling.Figures]) -> list[Line]:
    """Polls, and growth: what a device costs beside what it cost at the size before."""
    lines: list[Line] = []
    before: float | None = None
    for found in sizes:
        ours, bare = median(found.bridge), median(found.bare)
        each = ours / found.devices
        lines += [
            Line(
                what=f"poll of {found.devices:,} UMS devices, 1 % changed: processor s, beside receive + validate",
                ours=f"{ours:.4f}",
                theirs=f"{bare:.4f}",
                ratio=ratio(found.bridge, found.bare),
                most=1.5 if found.devices == MANY else None,
            ),
            Line(
                what="… processor µs a device, beside the size before",
                ours=f"{each * 1e6:.0f}",
                theirs=f"{before * 1e6:.0f}" if before else "",
                ratio=each / before if before else None,
                most=NOISE if before else None,
            ),
            Line(
                what="… states a poll · RSS · announced from nothing in",
                ours=f"{median(found.messages):,.0f} · {found.rss / 2**20:.0f} MiB · {found.announced:.1f} s",
            ),
        ]
        if found.devices == MANY:
            lines.append(_within("… RSS, MiB", found.rss / 2**20, 150.0, 0))
        before = each
    return lines


def of_cold(found: cold.Figures, paced: cold.Figures | None) -> list[Line]:
    """A cold start."""
    what = f"cold start: {found.gateways:,} gateways, {found.devices:,} devices, {found.entities:,} entities"
    lines = [
        Line(
            what=f"{what}, {round(found.size / 2**20, -1):.0f} MiB: s from the first description, beside bare paho",
            ours=f"{median(found.flood):.1f} ({median(found.whole):.1f} with start and polls)",
            theirs=f"{median(found.bare):.1f}",
            ratio=ratio(found.flood, found.bare),
            most=1.5,
        ),
        Line(
            what="… RSS, bytes an entity (ratio: to 2 KiB)",
            ours=f"{found.rss_per_entity:.0f}",
            theirs="2048",
            ratio=found.rss_per_entity / 2048,
            most=1.0,
        ),
    ]
    if paced is not None:
        lines.append(Line(what="… paced at the default 100 devices/s", ours=f"{paced.whole[-1]:.0f} s"))
    return lines


def of_commands(found: command.Figures) -> list[Line]:
    """Commands."""
    ours, bare = sorted(found.bridge), sorted(found.bare)
    added = [(quantile(ours, share) - quantile(bare, share)) * 1e3 for share in (0.5, 0.99)]
    return [
        Line(
            what="command → vendor → read-back → result, ms p50 / p99, beside the vendor calls alone",
            ours=f"{quantile(ours, 0.5) * 1e3:.1f} / {quantile(ours, 0.99) * 1e3:.1f}",
            theirs=f"{quantile(bare, 0.5) * 1e3:.1f} / {quantile(bare, 0.99) * 1e3:.1f}",
        ),
        _within("… added by the bridge, ms p50", added[0], 5.0),
        _within("… added by the bridge, ms p99", added[1], 30.0),
    ]


def of_cluster(found: cluster.Figures) -> list[Line]:
    """Alarms stored a second, by engine."""
    beside = found.sqlite
    return [
        Line(
            what=f"{what} · ms p50 / p99, beside SQLite",
            ours=_stored(ours),
            theirs=_stored(beside),
            ratio=ratio(ours.rate, beside.rate),
            least=least,
        )
        for what, ours, least in (
            ("alarms stored in PostgreSQL with a synchronous standby, alarms/s", found.one_node, 0.6),
            ("… by two nodes together, alarms/s", found.two_nodes, 0.85),
        )
    ]


def _stored(found: cluster.Rates) -> str:
    return f"{median(found.rate):,.0f} · {median(found.p50):.1f} / {median(found.p99):.1f}"


_GOALS = {
    ("thingscloud", 1000): {"first": 22.0, "online": 90.0, "changed": 300.0, "disabled": 0.0},
    ("ums", 1000): {"calls": 90.0},
    ("smart_gateway", 10_000): {"sweep": 300.0},
}
"""Goals by platform and number of devices: minutes, seconds, share, calls a minute."""


def of_fleets(found: Iterable[fleet.Figures], memories: Iterable[fleet.Memory]) -> list[Line]:
    """Large fleets, in the vendor's time."""
    lines: list[Line] = []
    for figures in found:
        size = figures.fleet
        goals: Mapping[str, float] = _GOALS.get((size.platform, size.devices), {})
        if size.platform == "ums" and size.with_lines == 1:
            goals = {}  # the goal is about a fleet of which two thirds have no lines
        lines += _of_fleet(figures, goals)
    lines += [
        Line(
            what=f"{held.platform}, {held.devices:,} devices, {held.entities:,} entities: bytes an entity",
            ours=f"{held.per_entity:,.0f}",
        )
        for held in memories
    ]
    return lines


def _of_fleet(found: fleet.Figures, goals: Mapping[str, float]) -> list[Line]:
    size = found.fleet
    lined = f" × {fleet.LINES} lines" if size.platform == "ums" else ""
    few = "" if size.with_lines == 1 else f" ({size.with_lines:.0%} of them with lines, all online and alarmed)"
    name = f"{size.platform}, {size.devices:,} devices{lined}{few}"
    detail = fleet.PLATFORMS[size.platform].detail

    def line(what: str, goal: str, value: float, shown: str) -> Line:
        most = goals.get(goal)
        return Line(what=what, ours=shown, ratio=None if most is None else value, most=most)

    ages = [fleet.quantile(found.ages, share) for share in (0.5, 0.9)]
    changed, online = fleet.quantile(found.changed, 0.9), fleet.quantile(found.online, 0.9)
    sweep = found.durations.get(detail, 0.0)
    listed = found.durations.get("devices", 0.0)
    return [
        line(f"{name}: min to the first value of the last", "first", found.first / 60, f"{found.first / 60:.1f}"),
        line("… s of a sweep: list / details", "sweep", max(sweep, listed), f"{listed:.0f} / {sweep:.0f}"),
        line("… age of values, s p50 / p90", "age", ages[1], f"{ages[0]:.0f} / {ages[1]:.0f}"),
        line(
            "… s until a changed value shows, p90; not before the end",
            "changed",
            changed,
            f"{changed:.0f}; {found.missed} of {found.missed + len(found.changed) + len(found.online)}",
        ),
        line("… s until online or offline shows, p90", "online", online, f"{online:.0f}"),
        line("… calls a minute", "calls", found.per_minute, f"{found.per_minute:.1f}"),
        line("… share of calls for disabled entities", "disabled", found.disabled_share, f"{found.disabled_share:.1%}"),
    ]


def render(runs: Sequence[Sequence[Line]], notes: Iterable[str]) -> str:
    """The table in Markdown, with notes below. A line of several runs has the figures of each, in their order."""
    head = ["| what | fleet2mqtt | beside it | ratio | goal | |", "| --- | --- | --- | --- | --- | --- |"]
    by_name: dict[str, list[Line]] = {}
    for run in runs:
        section = ""
        for line in run:
            section = section if line.what.startswith("…") else line.what
            by_name.setdefault(section + line.what, []).append(line)
    return "\n".join([*head, *map(_joined, by_name.values()), "", *(f"* {note}" for note in notes)])


def _joined(lines: Sequence[Line]) -> str:
    """Return a line of the table."""
    line = lines[0]
    if len(lines) == 1:
        return line.text()
    goal = line.goal and f"{sum(each.met for each in lines)} of {len(lines)} met"
    cells = [" · ".join(filter(None, (cell(each) for each in lines))) for cell in (_ours, _theirs, _ratio)]
    return f"| {line.what} | {' | '.join(cells)} | {line.goal} | {goal} |"


def _ours(line: Line) -> str:
    return line.ours


def _theirs(line: Line) -> str:
    return line.theirs


def _ratio(line: Line) -> str:
    return "" if line.ratio is None else f"{line.ratio:.2f}"


def write(path: Path, text: str, begin: str = BEGIN) -> None:
    """Put it between the markers. Raises ValueError where there are none."""
    page = path.read_text(encoding="utf-8")
    start = page.index("\n", page.index(begin)) + 1
    path.write_text(f"{page[:start]}\n{text}\n\n{page[page.index(END, start) :]}", encoding="utf-8")
