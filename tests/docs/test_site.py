"""The hooks that build the site: flowcharts, notebooks as pages, the order of the API, nothing fetched elsewhere."""

import importlib.util
import json
import logging
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("mkdocs")


def hook(name: str) -> ModuleType:
    """A file of `docs/` as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_flowchart_is_drawn_in_rows():
    diagram = hook("_diagram")
    body = 'flowchart TD\n  a["Top<br/><i>first</i>"]\n  a --> b & c --> d\n'
    labels, arrows = diagram.parse(body)
    assert labels["a"].startswith("Top") and set(arrows) == {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")}
    assert diagram.ranks(labels, arrows) == {"a": 0, "b": 1, "c": 1, "d": 2}
    drawn = diagram.on_page_markdown(f"x\n```mermaid\n{body}```\ny")
    assert (
        drawn.count("<rect") == 4 and drawn.count("<path") == 4 and "mermaid" not in drawn and "first</text>" in drawn
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sequenceDiagram\n a --> b", "expected `flowchart TD`"),
        ("flowchart TD\n a -- words --> b", "expected nodes and arrows"),
        ("flowchart TD\n a --> b\n b --> a", "expected arrows that point down"),
    ],
)
def test_flowchart_that_is_not_understood_is_an_error(body: str, message: str):
    diagram = hook("_diagram")
    with pytest.raises(ValueError, match=message):
        diagram.drawing(body)


def notebook(folder: Path) -> Path:
    """A notebook with a badge, an install cell, a heading, prints and two pictures."""
    picture = {"output_type": "display_data", "data": {"image/png": "aGVsbG8=", "text/plain": "<Figure>"}}
    printed = {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]}
    warning = {"output_type": "stream", "name": "stderr", "text": ["/home/me/tqdm.py:21: TqdmWarning\n"]}
    cells = [
        {"cell_type": "markdown", "source": "# Title\n\n[![Open in Colab](badge)](address)\n\nWhat it **is**; more."},
        {"cell_type": "code", "source": "if 'google.colab' in sys.modules: ...", "outputs": [], "metadata": {}},
        {
            "cell_type": "code",
            "source": "%matplotlib inline\nx = 1",
            "outputs": [picture],
            "metadata": {"tags": ["cover"]},
        },
        {"cell_type": "markdown", "source": "# Part\n\nSee [it](other.ipynb#part).\n\n```bash\n# comment\n```"},
        {"cell_type": "code", "source": "print(x)", "outputs": [warning, printed, picture], "metadata": {}},
    ]
    path = folder / "notebooks" / "start" / "one.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    return path


def test_notebook_becomes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    books = hook("_notebooks")
    monkeypatch.setattr(books, "ROOT", tmp_path)
    book = books.read(notebook(tmp_path))
    assert (book.title, book.teaser, book.task, book.page) == (
        "Title",
        "What it is; more.",
        "start",
        "notebooks/start/one.md",
    )
    assert "/colab.research.google.com/github/sciml-jax/sciml/blob/main/notebooks/start/one.ipynb" in book.body
    assert "badge" not in book.body and "google.colab" not in book.body and "%matplotlib" not in book.body
    assert "\n## Part\n" in book.body and "\n# comment\n" in book.body and "(other.md#part)" in book.body
    assert "```{ .text .output }\none\ntwo\n```" in book.body and "TqdmWarning" not in book.body
    assert list(book.pictures.values()) == [b"hello", b"hello"] and book.cover == "notebooks/start/one-1.png"
    assert "](start/one-1.png)" in books.gallery([book], "notebooks/index.md")


def test_stored_outputs_hold_no_warnings():
    """They would show paths of the machine that executed the notebook."""
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        assert '"stderr"' not in path.read_text(encoding="utf-8"), path


def test_notebook_without_a_title_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    books = hook("_notebooks")
    monkeypatch.setattr(books, "ROOT", tmp_path)
    path = notebook(tmp_path)
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "No title"}]}), encoding="utf-8")
    with pytest.raises(ValueError, match="got no title"):
        books.read(path)


def test_every_public_member_is_on_one_page():
    api = hook("_api")
    pages = api.pages()
    for package in api.packages():
        for name in api.exports(package)[1]:
            block = f"::: sciml.{package}.{name}"
            assert sum(block in page.split("\n\n") + [page.split("\n")[-2]] for page in pages.values()) == 1, block
    text = pages["api/solvers.md"]
    assert text.index("solvers.solve\n") < text.index("::: sciml.solvers.InteriorPoint\n")
    assert "::: sciml.solvers.AbstractSolver" in pages["api/extending.md"]


def test_order_of_a_name_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch):
    api = hook("_api")
    monkeypatch.setitem(api.ORDER, "nn", {"Networks": "TreeMLP Gone"})
    with pytest.raises(ValueError, match=r"got \['Gone'\]"):
        api.groups("nn")


def test_named_members_become_links():
    api = hook("_api")
    assert api.linked("`solvers.SQP()` or `TreeMLP`") == (
        "[`solvers.SQP()`][sciml.solvers.SQP] or [`TreeMLP`][sciml.nn.TreeMLP]"
    )
    assert api.linked("`AugmentedLagrangian`", home="losses").endswith("[sciml.losses.AugmentedLagrangian]")
    assert api.linked("| `solve` | `solve_batch` |").count("][sciml.solvers.solve") == 2
    for same in ("`AugmentedLagrangian`", "`solve`", "# `SQP`", "[`SQP`](there)", "    `SQP`"):
        assert api.linked(same) == same  # two homes, a plain word, a heading, a link, code


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<img alt=badge src=//cdn.example/x.svg>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<pre class="mermaid">',
    ],
)
def test_page_that_fetches_from_elsewhere_is_a_warning(html: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    checks = hook("_checks")
    (tmp_path / "page.html").write_text('<a href="https://example.org">a link is fine</a>', encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        checks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
        assert not caplog.records
        (tmp_path / "page.html").write_text(html, encoding="utf-8")
        checks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
    assert "fetches from elsewhere" in caplog.text
