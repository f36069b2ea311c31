"""Saving and loading of one pytree."""

from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from typing import Any

import jax.tree_util as jtu

from sciml.core import invalid

from ._format import decode, encode, VERSION
from ._leaves import describe, entry_of, identity, is_array, leaves_with_path, pack, unpack
from ._write import write_atomic


def save(path: str | PathLike[str], tree: Any, *, note: str | None = None) -> None:
    """Writes the arrays, random keys and Python numbers of a pytree into one file, bit for bit and atomically.

    Functions and other static leaves are stored by name only, and static fields of modules are not stored. `load` takes
    both from its argument `like`.

    Args:
        path: the file to write or replace; the usual suffix is `.sciml`; its folder must exist.
        tree: a model, a policy, a state, or any other pytree.
        note: free text, which `read_header` returns.

    Raises:
        ValueError: the file cannot be written, or a leaf is traced or holds something other than numbers.

    Examples:
        ```python
        sciml.save("weights.sciml", {"a": jnp.arange(3), "b": 0.5}, note="first try")
        assert sciml.load("weights.sciml", {"a": jnp.zeros(3, int), "b": 0.0})["b"] == 0.5
        ```
    """
    packed = [pack(where, leaf) for where, leaf in leaves_with_path(tree)]
    header = {
        "format": VERSION,
        "package": _package_version(),
        "class": _class_name(tree),
        "note": note,
        "leaves": [entry for entry, _ in packed],
    }
    write_atomic(path, encode(header, [data for _, data in packed]))


def load(path: str | PathLike[str], like: Any) -> Any:
    """Reads a pytree that `save` wrote; loading never runs code from the file.

    Args:
        path: a file written by `save`.
        like: a pytree of the same class, structure, shapes and dtypes, for instance a freshly built model, or
            `eqx.filter_eval_shape` of its constructor. It supplies what is not stored: functions, other static leaves
            and static fields. Its arrays are ignored.

    Returns:
        A pytree like `like` with the stored values. NumPy arrays where `like` has them, else JAX arrays.

    Raises:
        ValueError: no such file, a truncated or corrupt file, or a `like` that differs from what is stored: each
            differing leaf is named.
    """
    header, data = decode(path)
    if header["class"] != _class_name(like):
        raise invalid(
            "like",
            f"a {_class_name(like)}",
            f"a {header['class']}, as stored",
            "build `like` with the code that built the saved tree",
        )
    leaves = leaves_with_path(like)
    stored = {entry["path"]: entry for entry in header["leaves"]}
    wanted = {where: entry_of(where, leaf) for where, leaf in leaves}
    paths = list(dict.fromkeys([*wanted, *stored]))
    differing = [where for where in paths if identity(wanted.get(where)) != identity(stored.get(where))]
    if differing or list(stored) != list(wanted):
        raise _mismatch(differing, wanted, stored)
    values = [unpack(entry, raw, leaf) for entry, raw, (_, leaf) in zip(header["leaves"], data, leaves, strict=True)]
    return jtu.tree_unflatten(jtu.tree_structure(like, is_leaf=lambda node: node is None), values)


def _mismatch(differing: list[str], wanted: dict[str, Any], stored: dict[str, Any]) -> ValueError:
    shown = differing[:10]
    got = "; ".join(f"{where}: {describe(wanted.get(where))}" for where in shown) or "leaves in another order"
    expected = "; ".join(f"{where}: {describe(stored.get(where))}" for where in shown) or "the stored order"
    more = f" (and {len(differing) - len(shown)} more)" if len(differing) > len(shown) else ""
    return invalid(
        "like",
        got + more,
        f"what is stored: {expected}",
        "build `like` with the sizes, the dtype and the functions of the saved tree",
    )


def _class_name(tree: Any) -> str:
    return "Array" if is_array(tree) else type(tree).__qualname__


def _package_version() -> str:
    try:
        return version("sciml-jax")
    except PackageNotFoundError:
        return "unknown"
