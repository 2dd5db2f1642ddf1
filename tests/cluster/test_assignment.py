"""Assignment of units to nodes, as a pure function: every combination of nodes that come, leave, drain and differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet2mqtt.cluster.assignment import MAX_MOVES, MIN_GAIN, TOLERANCE, AssignedUnit, Candidate, assign, candidates

ALL = frozenset(f"u{number}" for number in range(12))
NODES = ("a", "b", "c", "d")


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[AssignedUnit], list[Candidate]]:
    names = draw(st.lists(st.sampled_from(NODES), unique=True, min_size=1))
    nodes = [
        Candidate(name=name, units=draw(st.frozensets(st.sampled_from(sorted(ALL)))), willing=draw(st.booleans()))
        for name in names
    ]
    owners = st.sampled_from((None, *NODES))
    units = [
        AssignedUnit(name=name, owner=draw(owners), wanted=draw(owners), weight=draw(st.floats(1, 1_000)))
        for name in draw(st.lists(st.sampled_from(sorted(ALL)), unique=True))
    ]
    return units, nodes


def applied(units: list[AssignedUnit], changes: dict[str, str]) -> list[AssignedUnit]:
    return [replace(unit, wanted=changes.get(unit.name, unit.wanted)) for unit in units]


def handed_over(units: list[AssignedUnit]) -> list[AssignedUnit]:
    """Units once the nodes have done what is wanted of them."""
    return [replace(unit, owner=unit.wanted or unit.owner) for unit in units]


def unfinished(units: list[AssignedUnit]) -> dict[str, str]:
    """Return the moves that are wanted and not done yet."""
    return {unit.name: unit.wanted for unit in units if unit.wanted is not None and unit.wanted != unit.owner}


def loads(units: list[AssignedUnit], names: tuple[str, ...]) -> dict[str, float]:
    return {name: sum(unit.weight for unit in units if unit.owner == name) for name in names}


@given(clusters())
def test_unit_goes_only_to_a_willing_node_that_can_run_it(
    cluster: tuple[list[AssignedUnit], list[Candidate]],
) -> None:
    units, nodes = cluster
    by_name = {node.name: node for node in nodes}
    for unit, node in assign(units, nodes).items():
        assert by_name[node].willing
        assert unit in by_name[node].units


@given(clusters())
def test_units_that_run_move_two_at_a_time(cluster: tuple[list[AssignedUnit], list[Candidate]]) -> None:
    units, nodes = cluster
    before = {unit.name for unit in units if unit.owner is not None and unit.wanted not in {None, unit.owner}}
    after = applied(units, assign(units, nodes))
    moving = {unit.name for unit in after if unit.owner is not None and unit.wanted not in {None, unit.owner}}
    assert len(moving - before) <= MAX_MOVES


@given(clusters())
def test_assignment_ends_with_every_unit_that_can_run_at_a_willing_node(
    cluster: tuple[list[AssignedUnit], list[Candidate]],
) -> None:
    units, nodes = cluster
    alive = {node.name for node in nodes}
    units = [unit if unit.owner in alive else replace(unit, owner=None) for unit in units]
    while changes := assign(units, nodes) or unfinished(units):
        units = handed_over(applied(units, changes))
    for unit in units:
        able = {node.name for node in nodes if node.willing and unit.name in node.units}
        if able:
            assert unit.owner in able


@given(st.lists(st.floats(1, 1_000), min_size=1, max_size=12), st.integers(1, 4))
def test_loads_are_even_but_for_a_large_unit_or_a_quarter(weights: list[float], count: int) -> None:
    names = NODES[:count]
    nodes = [Candidate(name=name, units=ALL) for name in names]
    units = [AssignedUnit(name=f"u{number}", owner="a", weight=weight) for number, weight in enumerate(weights)]
    while changes := assign(units, nodes):
        units = handed_over(applied(units, changes))
    mean = sum(weights) / count
    assert max(loads(units, names).values()) <= max(TOLERANCE * mean, mean + (1 + MIN_GAIN) * max(weights)) * (1 + 1e-9)


def test_units_of_a_dead_node_are_placed_at_once_and_nothing_else_moves() -> None:
    nodes = [Candidate(name=name, units=ALL) for name in "ab"]
    units = [AssignedUnit(name=f"u{number}", owner="ab"[number % 2], wanted="ab"[number % 2]) for number in range(6)]
    units += [AssignedUnit(name=f"u{number}", weight=3.0) for number in range(6, 10)]
    changes = assign(units, nodes)
    assert sorted(changes) == ["u6", "u7", "u8", "u9"]
    assert sorted(changes.values()) == ["a", "a", "b", "b"]


def test_large_unit_does_not_move_for_a_small_gain() -> None:
    nodes = [Candidate(name=name, units=ALL) for name in "ab"]
    units = [AssignedUnit(name="u1", owner="a", wanted="a", weight=21), AssignedUnit(name="u2", owner="a", wanted="a")]
    assert assign(units, nodes) == {"u2": "b"}
    assert not assign([units[0], replace(units[1], fixed=True)], nodes)


def test_unit_stays_while_loads_are_nearly_even() -> None:
    nodes = [Candidate(name=name, units=ALL) for name in "ab"]
    units = [
        AssignedUnit(name="u1", owner="a", wanted="a", weight=60),
        AssignedUnit(name="u2", owner="b", wanted="b", weight=40),
    ]
    assert not assign(units, nodes)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ({"a": (frozenset("x"), True)}, {"a": ("xyz", True)}),
        ({"a": (frozenset("x"), True), "b": (frozenset("y"), True)}, {"a": ("xz", True), "b": ("yz", True)}),
        ({"a": (frozenset("xy"), False)}, {"a": ("xyz", True)}),
        ({"a": (frozenset("x"), False), "b": (frozenset("x"), True)}, {"a": ("xyz", False), "b": ("xyz", True)}),
    ],
)
def test_node_can_run_its_backends_and_those_that_are_nobodys(
    nodes: dict[str, tuple[frozenset[str], bool]], found: dict[str, tuple[str, bool]]
) -> None:
    listed = candidates("xyz", nodes, frozenset("z"))
    assert {each.name: (each.units, each.willing) for each in listed} == {
        name: (frozenset(units), willing) for name, (units, willing) in found.items()
    }
