"""The count of CPU seconds by folder, and when a run fails for it."""

import pytest

from tests.budget import folder_of, over_budget, ROOT, settings


def test_every_folder_has_a_budget_and_every_path_of_the_fast_part_exists():
    folders = {path.parent.relative_to(ROOT / "tests").parts[:1] for path in (ROOT / "tests").rglob("test_*.py")}
    assert {parts[0] if parts else "." for parts in folders} == set(settings()["budgets"])
    assert not [path for path in settings()["fast"] if not (ROOT / path).exists()]


@pytest.mark.parametrize(
    ("nodeid", "folder"),
    [
        ("tests/systems/zoo/test_zoo.py::test_it[1]", "systems"),
        ("tests/core/test_core.py::test_it", "core"),
        ("tests/test_architecture.py::test_it[sciml/core/_trees.py]", "."),
    ],
)
def test_a_test_counts_for_its_folder(nodeid, folder):
    assert folder_of(nodeid) == folder


def test_half_as_much_again_is_too_much_on_a_machine_of_the_same_speed():
    budgets = {"core": 10.0, "nn": 4.0}
    spent = {"core": 14.9, "nn": 6.1, "(collecting)": 99.0}
    assert over_budget(spent, budgets, 1.0) == ["tests/nn took 6 CPU-s, more than 6: compile less, or raise it"]
    assert over_budget(spent, budgets, 1.2) == []
    assert over_budget({"new": 0.1}, budgets, 9.0) == [
        "tests/new has no budget: add it to [tool.sciml.budgets] in pyproject.toml"
    ]
