"""The diagram of docs/map.md: every arrow is an import, and no import is missing."""

import re
from itertools import product
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]


def drawn() -> set[tuple[str, str]]:
    """The arrows of the diagram, as (importer, imported)."""
    diagram = (ROOT / "docs" / "map.md").read_text(encoding="utf-8").split("```mermaid")[1].split("```")[0]
    lines = [line.strip().split(" --> ") for line in diagram.splitlines() if "-->" in line]
    pairs = [pair for line in lines for pair in zip(line, line[1:], strict=False)]
    return {arrow for left, right in pairs for arrow in product(re.split(" & ", left), re.split(" & ", right))}


def imported() -> set[tuple[str, str]]:
    """The imports between the packages of `sciml`."""
    graph = grimp.build_graph("sciml", cache_dir=None)
    packages = {name for name in graph.find_children("sciml") if graph.find_children(name)}
    arrows = set()
    for importer in packages:
        for module in {importer} | graph.find_descendants(importer):
            homes = {".".join(found.split(".")[:2]) for found in graph.find_modules_directly_imported_by(module)}
            arrows |= {(importer, home) for home in homes & packages if home != importer}
    return {(a.removeprefix("sciml."), b.removeprefix("sciml.")) for a, b in arrows}


def reached(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """What each package reaches along the arrows."""
    longer = arrows | {(a, d) for a, b in arrows for c, d in arrows if b == c}
    return arrows if longer == arrows else reached(longer)


@pytest.mark.parametrize("arrow", sorted(drawn()))
def test_arrow_is_an_import(arrow: tuple[str, str]):
    assert arrow in imported()


def test_every_import_follows_from_the_arrows():
    assert reached(drawn()) == reached(imported())
