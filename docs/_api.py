"""MkDocs hook: one API page for each public folder of `sciml/`, so that a package is documented as it appears."""

import ast
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def packages() -> list[str]:
    """The dotted names of the public packages, the face first."""
    found = sorted(path.parent.relative_to(ROOT).parts for path in (ROOT / "sciml").rglob("__init__.py"))
    return [".".join(parts) for parts in found if not any(part.startswith("_") for part in parts)]


def address_of(package: str) -> str:
    """`sciml` -> `api/index.md`, `sciml.systems.zoo` -> `api/systems.zoo.md`."""
    return f"api/{package.removeprefix('sciml').removeprefix('.') or 'index'}.md"


def page_of(package: str) -> str:
    """The package's docstring, then every name that its `__init__.py` re-exports, in that order."""
    tree = ast.parse((ROOT.joinpath(*package.split(".")) / "__init__.py").read_text(encoding="utf-8"))
    exports = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = [alias.asname for alias in exports if alias.asname and f"{package}.{alias.asname}" not in packages()]
    blocks = [f"::: {package}.{name}" for name in names]
    return "\n\n".join([f"# `{package}`", ast.get_docstring(tree) or "", *blocks]) + "\n"


def on_config(config):
    """Adds the pages to the navigation."""
    config.nav.append({"API": [{name: address_of(name)} for name in packages()]})
    return config


def on_files(files: Files, config):
    """Adds the pages themselves."""
    for name in packages():
        files.append(File.generated(config, address_of(name), content=page_of(name)))
    return files


def on_page_markdown(markdown: str, **_):
    """Shows a block that the tests do not run like any other."""
    return markdown.replace("```python no-run", "```python")
