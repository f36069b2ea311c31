"""MkDocs hook: the notebooks as pages, from their stored outputs, and a gallery of them. Nothing is executed.

`<!-- gallery -->` on a page becomes one card for each notebook. The picture of a card is that of the cell tagged
`cover`, or the last picture. Links to `.ipynb` files, which work on GitHub, lead to the pages here.
"""

import base64
import json
import posixpath
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
TASKS = ["start", "model", "identify", "control", "optimise", "physics"]  # their order; others follow
HEADING = re.compile(r"^(#+ )", re.MULTILINE)
BADGE = re.compile(r"^\[!\[Open in Colab\].*\n+", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)\s]+)\.ipynb(?P<anchor>#[^)\s]*)?\)")
MAGIC = re.compile(r"^\s*%.*\n?", re.MULTILINE)


@dataclass
class Notebook:
    """One notebook as Markdown, with its pictures."""

    path: str  # "start/first_program"
    title: str
    teaser: str
    body: str
    pictures: dict[str, bytes] = field(default_factory=dict)
    cover: str | None = None

    @property
    def task(self) -> str:
        """The folder."""
        return self.path.split("/")[0]

    @property
    def page(self) -> str:
        """The address of the page among the sources."""
        return f"notebooks/{self.path}.md"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _fence(code: str, info: str) -> str:
    return f"```{info}\n{code.rstrip()}\n```"


def _prose(source: str) -> str:
    """A Markdown cell: headings one level down, because the title is the page's."""
    parts = re.split(r"(^```.*?^```)", source, flags=re.MULTILINE | re.DOTALL)
    shifted = [part if part.startswith("```") else HEADING.sub(r"#\1", part) for part in parts]
    return LINK.sub(lambda m: f"]({m['path']}.md{m['anchor'] or ''})", "".join(shifted))


def _teaser(source: str) -> str:
    """The first sentences of the first paragraph that is prose, as few as say something."""
    for paragraph in re.split(r"\n\s*\n", source):
        if not paragraph.startswith(("#", "[!", "    ", "$$")):
            text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", " ".join(paragraph.split()))
            sentences = re.split(r"(?<=\.) (?=[A-Z])", text.replace("**", ""))
            enough = next((n for n in range(1, len(sentences)) if len(" ".join(sentences[:n])) > 60), len(sentences))
            return " ".join(sentences[:enough])
    return ""


def _outputs(cell: dict, stem: str, heading: str, pictures: dict[str, bytes]) -> list[str]:
    """What a code cell printed and drew."""
    blocks = []
    for output in cell.get("outputs", []):
        if output.get("name") == "stderr":  # warnings and progress bars of the machine that executed it
            continue
        data = output.get("data", {})
        if "image/png" in data:
            name = f"{stem}-{len(pictures) + 1}.png"
            pictures[name] = base64.b64decode(_joined(data["image/png"]))
            blocks.append(f'![{heading}]({posixpath.basename(name)}){{ .figure loading="lazy" }}')
        elif "text/html" in data:
            blocks.append(f'<div class="output">{_joined(data["text/html"])}</div>')
        elif text := _joined(output.get("text", "")) or _joined(data.get("text/plain", "")):
            blocks.append(_fence(text, "{ .text .output }"))
    return blocks


def read(path: Path) -> Notebook:
    """The page of one notebook."""
    name = path.relative_to(ROOT / "notebooks").with_suffix("").as_posix()
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = _joined(cells[0]["source"])
    title = re.search(r"^# (.+)$", first, re.MULTILINE)
    if cells[0]["cell_type"] != "markdown" or title is None:
        raise ValueError(f"`{name}.ipynb`: got no title; expected a first cell in Markdown that starts with `# Title`")
    book = Notebook(name, title.group(1), _teaser(BADGE.sub("", first)), "")
    source = f"blob/main/notebooks/{name}.ipynb"
    colab = f"https://colab.research.google.com/github/{REPOSITORY.removeprefix('https://github.com/')}/{source}"
    places = {"Open in Colab": colab, "View on GitHub": f"{REPOSITORY}/{source}"}
    buttons = " ".join(f"[{label}]({address}){{ .md-button .small }}" for label, address in places.items())
    blocks = [f"# {book.title}", buttons, _prose(BADGE.sub("", first).replace(title.group(0), "", 1))]
    heading, covers = book.title, []
    for cell in cells[1:]:
        source = _joined(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(_prose(source))
            heading = (re.findall(r"^#+ (.+)$", source, re.MULTILINE) or [heading])[-1]
        elif cell["cell_type"] == "code" and "google.colab" not in source:
            blocks.append(_fence(MAGIC.sub("", source).strip("\n"), "python"))
            blocks += _outputs(cell, f"notebooks/{name}", heading.replace("]", ""), book.pictures)
            if "cover" in cell["metadata"].get("tags", []):
                covers += list(book.pictures)[-1:]
    book.body = "\n\n".join(blocks) + "\n"
    book.cover = (covers or list(book.pictures)[-1:] or [None])[0]
    return book


def _rank(task: str) -> tuple[int, str]:
    return (TASKS.index(task) if task in TASKS else len(TASKS), task)


def notebooks() -> list[Notebook]:
    """All of them, by task; in `start/` by name, which is the order to read them in but for the fit that comes last."""
    paths = [path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    books = [read(path) for path in sorted(paths)]
    first = ["start/first_program", "start/first_rollout", "start/first_fit"]
    place = lambda book: first.index(book.path) if book.path in first else len(first)
    return sorted(books, key=lambda book: (_rank(book.task), place(book), book.path))


def gallery(books: list[Notebook], page: str) -> str:
    """One card for each notebook, with links relative to `page`."""
    relative = lambda target: posixpath.relpath(target, posixpath.dirname(page) or ".")
    cards = []
    for book in books:
        picture = f"![{book.title}]({relative(book.cover)}){{ loading=lazy }}" if book.cover else ""
        text = (
            f"<span class=task>{book.task}</span><strong>{book.title}</strong><span class=teaser>{book.teaser}</span>"
        )
        cards.append(f"- [{picture}{text}]({relative(book.page)})")
    return '<div class="gallery" markdown>\n\n' + "\n".join(cards) + "\n\n</div>"


def on_config(config):
    """Adds the pages to the navigation, by task."""
    books = notebooks()
    tasks = list(dict.fromkeys(book.task for book in books))
    items = [{task.capitalize(): [{b.title: b.page} for b in books if b.task == task]} for task in tasks]
    for entry in config.nav:
        if isinstance(entry, dict) and entry.get("Notebooks") is not None:
            entry["Notebooks"] = ["notebooks/index.md", *items]
    config.extra["notebooks"] = books
    config.extra["social"] = [{"icon": "material/github", "link": REPOSITORY, "name": "Repository"}]
    return config


def on_files(files: Files, config):
    """Adds the pages, their pictures, and the overview."""
    books = config.extra["notebooks"]
    overview = "# Notebooks\n\nEach page was executed as it stands; its last cell asserts what its text claims.\n\n"
    files.append(File.generated(config, "notebooks/index.md", content=overview + "<!-- gallery -->\n"))
    for book in books:
        files.append(File.generated(config, book.page, content=book.body))
        for name, picture in book.pictures.items():
            files.append(File.generated(config, name, content=picture))
    return files


def on_page_markdown(markdown: str, page, config, files):
    """Fills the galleries; links to notebooks and to the rest of the repository lead somewhere."""
    here = page.file.src_uri

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(here), match["path"]))
        if path.startswith("notebooks/") and path.endswith(".ipynb"):
            new = posixpath.relpath(path.removesuffix(".ipynb") + ".md", posixpath.dirname(here) or ".")
            return f"]({new}{match['anchor'] or ''})"
        if not path.startswith(("docs/", "..")) and (ROOT / path).exists():
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"]({REPOSITORY}/{kind}/main/{path}{match['anchor'] or ''})"
        return match.group()

    def named(match: re.Match[str]) -> str:
        known = [book for book in config.extra["notebooks"] if book.path == match["name"]]
        start = posixpath.dirname(here) or "."
        return f"[{known[0].title}]({posixpath.relpath(known[0].page, start)})" if known else match.group()

    if not here.startswith(("notebooks/", "api/")):
        markdown = re.sub(r"(?<!\[)`notebooks/(?P<name>[\w/]+)\.ipynb`", named, markdown)
        markdown = re.sub(r"\]\((?P<path>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?\)", target, markdown)
    return markdown.replace("<!-- gallery -->", gallery(config.extra["notebooks"], here))
