"""Assignment: which node is to own which unit, by weight. What runs stays where it is, unless that is far from even."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_MOVES = 2
"""Units that are handed over at a time."""
TOLERANCE = 1.25
"""Load of the busiest node, in those of an average one, from which units are moved to another one."""
MIN_GAIN = 0.25
"""Part of a unit's weight by which its new node has to be less busy afterwards than its former one was before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedUnit:
    """A unit with its owner and the node that is to own it, None without. A `fixed` one is not moved for balance."""

    name: str
    owner: str | None = None
    wanted: str | None = None
    weight: float = 1.0
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node that is alive, and the units that it can run. One that is not `willing` gives up what it owns."""

    name: str
    units: frozenset[str]
    willing: bool = True


def assign(units: Iterable[AssignedUnit], candidates: Iterable[Candidate]) -> dict[str, str]:
    """Return the units whose wanted owner changes, with that owner."""
    plan = _Plan(tuple(units), tuple(candidates))
    plan.place_ownerless()
    plan.empty_unwilling()
    plan.balance()
    targets = plan.targets
    return {unit.name: targets[unit.name] for unit in plan.units if targets.get(unit.name, unit.wanted) != unit.wanted}


class _Plan:
    """Targets of units, and the loads of nodes that result."""

    def __init__(self, units: tuple[AssignedUnit, ...], candidates: tuple[Candidate, ...]) -> None:
        self.units = tuple(sorted(units, key=lambda unit: (-unit.weight, unit.name)))
        self._candidates = {each.name: each for each in sorted(candidates, key=lambda each: each.name)}
        self.targets: dict[str, str] = {}
        self._loads = dict.fromkeys((each.name for each in self._candidates.values() if each.willing), 0.0)
        for unit in self.units:
            if unit.wanted is not None and self._may_own(unit.wanted, unit):
                self._set_target(unit, unit.wanted)
            elif unit.owner is not None and self._may_own(unit.owner, unit):
                self._set_target(unit, unit.owner)
        self._moves = sum(self.targets.get(unit.name) not in {None, unit.owner} for unit in self.units)

    def place_ownerless(self) -> None:
        """Choose owners for units that nobody runs, all at once: each of them is down until then."""
        for unit in self.units:
            if unit.owner is None and unit.name not in self.targets:
                self._move(unit)

    def empty_unwilling(self) -> None:
        """Move units away from nodes that are to own nothing, while others can run them."""
        for unit in self.units:
            if unit.owner is not None and unit.name not in self.targets and self._moves < MAX_MOVES:
                self._move(unit)

    def balance(self) -> None:
        """Move units from the busiest node, where that makes the loads more even by far."""
        while self._moves < MAX_MOVES and self._loads:
            busiest = max(self._loads, key=lambda name: self._loads[name])
            if self._loads[busiest] <= TOLERANCE * sum(self._loads.values()) / len(self._loads):
                return
            moved = min(
                (
                    (max(self._loads[busiest] - unit.weight, self._loads[other] + unit.weight), unit.name, unit, other)
                    for unit in self.units
                    if unit.owner == busiest and self.targets.get(unit.name) == busiest and not unit.fixed
                    for other in self._loads
                    if other != busiest and self._may_own(other, unit)
                    if self._loads[busiest] - self._loads[other] >= (1 + MIN_GAIN) * unit.weight
                ),
                default=None,
                key=lambda found: found[:2],
            )
            if moved is None:
                return
            self._loads[busiest] -= moved[2].weight
            self._set_target(moved[2], moved[3])
            self._moves += 1

    def _may_own(self, node: str, unit: AssignedUnit) -> bool:
        return node in self._loads and unit.name in self._candidates[node].units

    def _move(self, unit: AssignedUnit) -> None:
        able = [name for name in self._loads if self._may_own(name, unit)]
        if able:
            self._set_target(unit, min(able, key=lambda name: self._loads[name]))
            self._moves += 1

    def _set_target(self, unit: AssignedUnit, node: str) -> None:
        self.targets[unit.name] = node
        self._loads[node] += unit.weight


def candidates(
    units: Iterable[str], nodes: Mapping[str, tuple[frozenset[str], bool]], always: frozenset[str]
) -> list[Candidate]:
    """Return what each node can run: the backends that it has, those that no node has any more, and `always`.

    `nodes` are those that are alive, with their backends and whether they are willing. If none is, all are.
    """
    known = frozenset[str]().union(*(backends for backends, _ in nodes.values()))
    nobodys = frozenset(units) - known | always
    some = any(willing for _, willing in nodes.values())
    return [
        Candidate(name=name, units=backends | nobodys, willing=willing or not some)
        for name, (backends, willing) in nodes.items()
    ]
