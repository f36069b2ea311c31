"""Conversion of the leaves of a pytree to stored data, and back."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer

from sciml.core import invalid

Entry = dict[str, Any]
"""What the header says of one leaf: `path`, `kind`, and by kind `dtype`, `shape`, `value`, `impl`, `name`."""

_NUMBERS = {float: "float", int: "int", bool: "bool", complex: "complex"}


def leaves_with_path(tree: Any) -> list[tuple[str, Any]]:
    """Every leaf and its path, including None, so that a missing part is reported."""
    leaves = jtu.tree_leaves_with_path(tree, is_leaf=lambda node: node is None)
    return [(jtu.keystr(path) or "(top)", leaf) for path, leaf in leaves]


def entry_of(path: str, leaf: Any) -> Entry:
    """The header entry of a leaf, which may be a `jax.ShapeDtypeStruct`."""
    if leaf is None:
        return {"path": path, "kind": "none"}
    if is_array(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return {"path": path, "kind": "key", "dtype": str(leaf.dtype), "shape": list(leaf.shape)}
        if not (jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == np.bool_):
            raise invalid(f"tree{path}", f"an array of dtype {leaf.dtype}", "numbers", "leave it out of the tree")
        return {"path": path, "kind": "array", "dtype": leaf.dtype.name, "shape": list(leaf.shape)}
    if type(leaf) in _NUMBERS:
        return {"path": path, "kind": _NUMBERS[type(leaf)]}
    return {"path": path, "kind": "static", "name": _name(leaf)}


def describe(entry: Entry | None) -> str:
    """The text for a header entry in an error message."""
    if entry is None:
        return "nothing"
    match entry["kind"]:
        case "array" | "key":
            return f"{entry['dtype']}{entry['shape']}"
        case "none":
            return "None"
        case "static":
            return f"the static leaf {entry['name']}"
        case kind:
            return f"a Python {kind}"


def identity(entry: Entry | None) -> tuple[Any, ...]:
    """The properties that two entries must share for one leaf to replace the other."""
    if entry is None:
        return ()
    return entry["kind"], entry.get("dtype"), tuple(entry.get("shape", ())), entry.get("name")


def pack(path: str, leaf: Any) -> tuple[Entry, bytes]:
    """The header entry and the raw little-endian bytes of a leaf."""
    if isinstance(leaf, Tracer | jax.ShapeDtypeStruct):
        raise invalid(f"tree{path}", f"{leaf}, which has no value", "an array", "call `save` outside `jit`")
    entry = entry_of(path, leaf)
    match entry["kind"]:
        case "key":
            data = np.asarray(jax.random.key_data(leaf))
            entry |= {"impl": str(jax.random.key_impl(leaf)), "data_shape": list(data.shape)}
            return entry, _little(data).tobytes()
        case "array":
            return entry, _little(np.asarray(leaf)).tobytes()
        case "float":
            return entry, np.array(leaf, "<f8").tobytes()
        case "complex":
            return entry, np.array(leaf, "<c16").tobytes()
        case "int" | "bool":
            return entry | {"value": leaf}, b""
        case _:
            return entry, b""


def unpack(entry: Entry, data: bytes, like: Any) -> Any:
    """The leaf that `entry` and `data` describe; a NumPy array where `like` is one, else a JAX array."""
    match entry["kind"]:
        case "key":
            raw = _array(data, "uint32", entry["data_shape"])
            return jax.random.wrap_key_data(jnp.asarray(raw), impl=entry["impl"])
        case "array":
            return _array_like(entry, data, like)
        case "float":
            return float(np.frombuffer(data, "<f8")[0])
        case "complex":
            return complex(np.frombuffer(data, "<c16")[0])
        case "int":
            return int(entry["value"])
        case "bool":
            return bool(entry["value"])
        case _:
            return like


def byte_count(entry: Entry) -> int:
    """The number of raw bytes of an entry."""
    match entry["kind"]:
        case "key":
            return 4 * int(np.prod(entry["data_shape"], dtype=object))
        case "array":
            return jnp.dtype(entry["dtype"]).itemsize * int(np.prod(entry["shape"], dtype=object))
        case "float":
            return 8
        case "complex":
            return 16
        case "int" | "bool":
            return 0 * int(entry["value"])  # no bytes, but a number in the header
        case _:
            return 0


def is_array(leaf: Any) -> bool:
    """Whether a leaf is stored as an array."""
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)


def _array_like(entry: Entry, data: bytes, like: Any) -> Any:
    array = _array(data, entry["dtype"], entry["shape"])
    if isinstance(like, np.generic):
        return array[()]
    if isinstance(like, np.ndarray):
        return array.astype(like.dtype)  # the same numbers in the byte order of `like`; a copy that may be written to
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise invalid(
            f"like{entry['path']}", f"{array.dtype} while JAX is set to 32 bits", "64 bits", "enable `jax_enable_x64`"
        )
    return jnp.asarray(array)


def _array(data: bytes, dtype: str, shape: list[int]) -> np.ndarray:
    array = np.frombuffer(data, jnp.dtype(dtype)).reshape(shape)
    return array.byteswap() if sys.byteorder == "big" else array


def _little(array: np.ndarray) -> np.ndarray:
    is_big = array.dtype.byteorder == ">" or (array.dtype.byteorder != "<" and sys.byteorder == "big")
    return array.byteswap() if is_big else array


def _name(leaf: Any) -> str:
    """A name that stays the same from run to run: of the function, or of a string or other object's class."""
    if isinstance(leaf, str):
        return repr(leaf)
    name = getattr(leaf, "__qualname__", None) or getattr(leaf, "__name__", None)
    return name if isinstance(name, str) else type(leaf).__qualname__
