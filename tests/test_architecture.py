"""The shape of the code: budgets, abstract or final, docstrings, layers, a light import, one address."""

import ast
import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import sciml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "sciml").rglob("*.py"))
FACE = ROOT / "sciml" / "__init__.py"

MAX_FILE, MAX_FUNCTION, MAX_NESTING, MAX_ABSTRACT = 400, 60, 2, 5
# Each exception: the file, or "file:function", or "module:Class", its own limit, and `# budget:` with the reason.
EXCEPTIONS: dict[str, int] = {}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Of `jax.numpy.linalg` and the like: what calls no routine of LAPACK.
HARMLESS = {"norm", "block_diag"}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def code_lines(path: Path, node: ast.AST) -> int:
    """Lines of `node` that hold code: no docstrings (of fields too), no blank lines, no lines of comment alone."""
    prose: set[int] = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str):
            prose.update(range(child.lineno, child.end_lineno + 1))
    first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", None)
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    inside = [text.strip() for i, text in lines if i >= first and (last is None or i <= last) and i not in prose]
    return sum(bool(text) and not text.startswith("#") for text in inside)


def functions(node: ast.AST, depth: int = 0, prefix: str = ""):
    """Every `def` below `node`, with its qualified name and how many `def`s it stands in, itself included."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{child.name}", child, depth + 1
            yield from functions(child, depth + 1, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from functions(child, depth, f"{prefix}{child.name}.")
        else:
            yield from functions(child, depth, prefix)


@cache
def modules() -> tuple[ModuleType, ...]:
    found = [m.name for m in pkgutil.walk_packages(sciml.__path__, "sciml.") if not m.name.endswith("__main__")]
    return (sciml, *(importlib.import_module(name) for name in found))


@cache
def classes() -> tuple[type, ...]:
    return tuple(
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    )


def is_abstract(cls: type) -> bool:
    return cls.__name__.lstrip("_").startswith("Abstract")


def public_packages() -> list[ModuleType]:
    return [m for m in modules() if hasattr(m, "__path__") and "._" not in m.__name__]


# ---------------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_and_functions_stay_inside_their_budgets(path: Path):
    over = []
    if (n := code_lines(path, parse(path))) > EXCEPTIONS.get(name_of(path), MAX_FILE):
        over.append(f"{name_of(path)}: {n} lines of code")
    for name, node, depth in functions(parse(path)):
        place = f"{name_of(path)}:{name}"
        if (n := code_lines(path, node)) > EXCEPTIONS.get(place, MAX_FUNCTION):
            over.append(f"{place}: {n} lines of code")
        if depth > MAX_NESTING:
            over.append(f"{place}: {depth} nested defs")
    assert not over, over


def test_abstract_classes_ask_for_few_methods():
    over = {}
    for cls in classes():
        asked = getattr(cls, "__abstractmethods__", frozenset())
        ours = [a for a in asked if any(a in vars(b) and b.__module__.startswith("sciml") for b in cls.__mro__)]
        name = f"{cls.__module__}:{cls.__name__}"
        if len(ours) > EXCEPTIONS.get(name, MAX_ABSTRACT):
            over[name] = ours
    assert not over, over


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=name_of)
def test_init_only_reexports(path: Path):
    wrong = []
    body = parse(path).body
    if path == FACE:  # its names are imported when first used; the test below compares its two lists
        body = [body[0], *next(node.body for node in body if isinstance(node, ast.If))]
    assert body and ast.get_docstring(parse(path)), f"{name_of(path)} has no docstring"
    for node in body[1:]:
        names = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("sciml")):
            wrong += [f"{a.name}: write `{a.name} as {a.name}`" for a in node.names if a.asname != a.name]
        elif names != ["__all__"]:
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert not wrong, wrong


def test_the_face_imports_when_first_used():
    block = next(node.body for node in parse(FACE).body if isinstance(node, ast.If))
    homes = {
        alias.name: node.module or alias.name
        for node in block
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(homes) == dir(sciml)
    for name, home in homes.items():
        module = importlib.import_module(f"sciml.{home}")
        assert getattr(sciml, name) is (module if name == home else getattr(module, name))
    with pytest.raises(AttributeError, match="module `sciml` has no attribute `sovle`"):
        sciml.sovle  # noqa: B018
    assert python("import sciml, sys; print('sciml.core' in sys.modules)") == "False"


def test_exceptions_still_exist():
    gone = [e for e in EXCEPTIONS if e.startswith("sciml/") and not (ROOT / e.split(":")[0]).exists()]
    assert not gone, gone


# ------------------------------------------------------------------------------------------------ abstract or final


def test_classes_are_abstract_or_final():
    wrong = []
    for cls in classes():
        if getattr(cls, "__abstractmethods__", None) and not is_abstract(cls):
            wrong.append(f"{cls.__module__}.{cls.__name__} has abstract methods; call it Abstract...")
        for base in cls.__mro__[1:]:
            if base.__module__.startswith("sciml") and not is_abstract(base):
                wrong.append(f"{cls.__module__}.{cls.__name__} subclasses the final {base.__name__}")
    assert not wrong, wrong


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_abstract_classes_are_not_instantiated(path: Path):
    ours = {cls.__name__ for cls in classes() if is_abstract(cls)}
    calls = [node.func for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    called = [(f.lineno, f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")) for f in calls]
    wrong = [(line, name) for line, name in called if name in ours]
    assert not wrong, wrong


# ------------------------------------------------------------------------------------------------------- docstrings


@cache
def documented(module: str) -> dict[str, bool]:
    """Whether each class and function at the top of `module` has a docstring in the source (dataclasses invent one)."""
    tree = parse(Path(importlib.import_module(module).__file__))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name: ast.get_docstring(node) is not None for node in ast.walk(tree) if isinstance(node, kinds)}


def undocumented_methods(cls: type) -> list[str]:
    own = [name for name in vars(cls) if not name.startswith("_") and callable(getattr(cls, name, None))]
    ours = [name for name in own if getattr(getattr(cls, name), "__qualname__", "") == f"{cls.__qualname__}.{name}"]
    return [name for name in ours if not inspect.getdoc(getattr(cls, name))]


@pytest.mark.parametrize("package", public_packages(), ids=lambda m: m.__name__)
def test_public_names_have_docstrings(package: ModuleType):
    missing = [] if package.__doc__ else [package.__name__]
    for name, value in vars(package).items():
        home = getattr(value, "__module__", None) or ""
        if name.startswith("_") or not home.startswith("sciml"):
            continue
        if inspect.isclass(value):
            missing += [f"{name}.{method}" for method in undocumented_methods(value)]
        if (inspect.isclass(value) or inspect.isfunction(value)) and not documented(home).get(value.__name__, True):
            missing.append(name)
        elif callable(value) and not inspect.getdoc(value):
            missing.append(name)
    assert not missing, missing


# --------------------------------------------------------------------------------------------------- a light import


def python(code: str, **environment: str) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_starts_no_backend():
    # A platform that does not exist: whatever makes an array raises.
    python("import sciml", JAX_PLATFORMS="nowhere")
    with pytest.raises(AssertionError, match="nowhere"):
        python("import jax.numpy as jnp; jnp.zeros(1)", JAX_PLATFORMS="nowhere")


def test_import_brings_no_optional_package():
    optional = "{'matplotlib', 'tqdm', 'casadi', 'pandas', 'torch'}"
    assert python(f"import sciml, sys; print(*sorted({optional} & set(sys.modules)))") == ""


def test_import_sets_no_compilation_cache():
    names = ", ".join(f"sciml.{m.__name__.removeprefix('sciml.')}" for m in public_packages() if m is not sciml)
    setting = "(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs)"
    code = f"import jax\nbefore = {setting}\nimport sciml, {names}\nprint(before == {setting})"
    assert python(code) == "True"


def test_import_adds_little_to_its_runtime_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    runtime = ", ".join(requirement.split(">")[0] for requirement in project["dependencies"])
    code = f"import time, {runtime}\nt = time.process_time()\nimport sciml\nprint(time.process_time() - t)"
    # CPU time, the best of three: what else the machine does must not matter.
    assert min(float(python(code)) for _ in range(3)) <= 0.3


# ------------------------------------------------------------------------------------------------ layers and address


def test_imports_point_down():
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def address() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix("https://")


def test_address_stands_in_one_place():
    folders = ("sciml", "tests", "docs", "benchmarks", "notebooks", ".ci")
    texts = [p for f in folders for p in (ROOT / f).rglob("*") if p.suffix in {".py", ".md", ".yml", ".toml", ""}]
    texts += [p for p in ROOT.iterdir() if p.suffix in {".md", ".yml"}]
    assert not [name_of(p) for p in texts if p.is_file() and address() in p.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=name_of)
def test_notebook_installs_from_the_address_and_stores_outputs(path: Path):
    code = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    install = "".join(code[0]["source"])
    assert '"google.colab" in sys.modules' in install and f"git+https://{address()}" in install, install
    assert any(c["outputs"] for c in code), "no stored outputs: run notebooks/execute.py on it"


def bare_calls(node: ast.AST, aliases: set[str], is_inside: bool = False):
    """Functions of `*.linalg` of JAX outside of a call of `one_at_a_time`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "one_at_a_time":
        is_inside = True
    if isinstance(node, ast.Attribute) and not is_inside:
        owner = ast.unparse(node.value)
        is_of_jax = owner.startswith(("jnp.", "jax.")) and owner.endswith("linalg")
        if (is_of_jax or owner in aliases) and node.attr not in HARMLESS:
            yield node.lineno, ast.unparse(node)
    for child in ast.iter_child_nodes(node):
        yield from bare_calls(child, aliases, is_inside)


def linalg_names(tree: ast.AST) -> set[str]:
    """The names by which a file knows modules of linear algebra of JAX, or members of them."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname for a in node.names if a.name.startswith("jax") and "linalg" in a.name and a.asname}
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jax"):
            found |= {a.asname or a.name for a in node.names if a.name == "linalg" or "linalg" in (node.module or "")}
    return found


def test_lapack_is_called_through_the_safe_functions():
    """Decision 6: a batched call past them can wait for another one for ever."""
    files = [path for path in FILES if name_of(path) != "sciml/core/_linalg.py"]
    wrong = [(name_of(path), *call) for path in files for call in bare_calls(parse(path), linalg_names(parse(path)))]
    assert not wrong, f"wrap these in `core.one_at_a_time`: {wrong}"
    bare = "import jax.scipy.linalg as jsl\na = one_at_a_time(jsl.expm)\nb = jsl.expm(jnp.linalg.inv(c))"
    tree = ast.parse(bare)
    assert [name for _, name in bare_calls(tree, linalg_names(tree))] == ["jsl.expm", "jnp.linalg.inv"]
