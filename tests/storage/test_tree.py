"""Save then load is the identity, bit for bit; anything else is refused and says why."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jaxtyping import Array

from sciml.storage import load, read_header, save


class Model(eqx.Module):
    weight: Array
    gain: float
    steps: int
    is_on: bool
    offset: Any
    activation: Callable
    unit: str = eqx.field(static=True)


def model(weight=None, gain=0.1, offset=None, activation=jax.nn.gelu) -> Model:
    weight = jnp.arange(6.0).reshape(2, 3) if weight is None else weight
    return Model(weight, gain, 7, True, offset, activation, "V")


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            assert x.dtype == y.dtype
            x, y = jr.key_data(x), jr.key_data(y)
        if isinstance(x, jax.Array | np.ndarray | np.generic):
            assert x.dtype == y.dtype and x.shape == y.shape
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
        elif isinstance(x, float):
            assert x.hex() == y.hex()
        else:
            assert x == y


TREES = {
    "module": model(),
    "network": eqx.nn.MLP(2, 1, 4, 1, key=jr.key(0)),
    "dtypes": [
        jnp.zeros((2,), dtype)
        for dtype in ("bool", "int8", "uint32", "int64", "float16", "bfloat16", "float32", "complex128", "int4")
    ],
    "special values": (jnp.array([jnp.nan, -jnp.nan, jnp.inf, -0.0, 5e-324]), float("nan"), float("-inf"), -0.0),
    "python numbers": {"a": 0.1, "b": 2**80, "c": False, "d": 1 - 2j, "e": None, "f": True},
    "keys": (jr.key(1), jr.split(jr.key(2), 3), jr.key(3, impl="rbg"), jr.PRNGKey(4)),
    "numpy": (np.arange(3, dtype=np.int16), np.float64(0.1), np.arange(3, dtype=">f8"), np.zeros((2, 0, 3))),
    "empty": (jnp.zeros((0, 3)), (), {}),
    "nothing": None,
    "array": jnp.arange(3),
    "number": 0.1,
    "text and functions": ["adam", jnp.sin, lambda x: x],
}


@pytest.mark.parametrize("name", TREES)
def test_save_then_load_is_the_same_bits(tmp_path, name):
    tree = TREES[name]
    save(tmp_path / "tree.sciml", tree)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, jax.Array) else x, tree)
    assert_same(load(tmp_path / "tree.sciml", like), tree)
    assert [p.name for p in tmp_path.iterdir()] == ["tree.sciml"]
    first = (tmp_path / "tree.sciml").read_bytes()
    save(tmp_path / "tree.sciml", tree)
    assert (tmp_path / "tree.sciml").read_bytes() == first  # no dates inside: the same tree is the same file


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.floats() | st.integers() | st.booleans() | st.none(), lambda s: st.lists(s, max_size=4)))
def test_any_nest_of_numbers_survives(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "nest.sciml"
    save(path, tree)
    assert_same(load(path, tree), tree)


def test_shapes_suffice_to_load(tmp_path):
    def build(key):
        return {"net": eqx.nn.MLP(2, 1, 4, 1, key=key), "key": jr.split(key)}

    saved = build(jr.key(0))
    save(tmp_path / "a", saved)
    like = eqx.filter_eval_shape(build, jr.key(1))
    assert_same(load(tmp_path / "a", like), saved)


def test_what_is_not_stored_comes_from_like(tmp_path):
    save(tmp_path / "a", model(gain=0.5))
    like = Model(jnp.zeros((2, 3)), 0.0, 0, False, None, jax.nn.gelu, "mV")
    loaded = load(tmp_path / "a", like)
    assert (loaded.gain, loaded.steps, loaded.is_on, loaded.unit) == (0.5, 7, True, "mV")
    assert loaded.activation is jax.nn.gelu


def test_float32_stays_float32(tmp_path):
    save(tmp_path / "a", jnp.ones(2, jnp.float32))
    assert load(tmp_path / "a", jnp.zeros(2, jnp.float32)).dtype == jnp.float32


def test_a_numpy_leaf_may_be_written_to(tmp_path):
    save(tmp_path / "a", np.zeros(2))
    loaded = load(tmp_path / "a", np.zeros(2))
    loaded[0] = 1.0
    assert loaded[0] == 1.0


def test_the_header_tells_what_is_inside(tmp_path):
    save(tmp_path / "a", model(), note="tanks, seed 3")
    header = read_header(tmp_path / "a")
    assert (header["format"], header["class"], header["note"]) == (1, "Model", "tanks, seed 3")
    assert isinstance(header["package"], str)
    assert header["leaves"][0] == {"path": ".weight", "kind": "array", "dtype": "float64", "shape": [2, 3]}
    assert [leaf["kind"] for leaf in header["leaves"]] == ["array", "float", "int", "bool", "none", "static"]


MISMATCHES = {
    "shape": (model(jnp.zeros((3, 3))), r"`like`: got \.weight: float64\[3, 3\]; expected .*\.weight: float64\[2, 3\]"),
    "dtype": (model(jnp.zeros((2, 3), jnp.float32)), r"got \.weight: float32\[2, 3\]; .* float64\[2, 3\]"),
    "kind": (model(gain=1), r"got \.gain: a Python int; expected .*\.gain: a Python float"),
    "missing": (model(offset=(1.0, 2.0)), r"\.offset\[0\]: a Python float;.*\.offset\[1\]: .*\.offset: None"),
    "function": (model(activation=jnp.tanh), r"got \.activation: the static leaf .*tanh; .* static leaf gelu"),
    "class": ((model(),), r"`like`: got a tuple; expected a Model"),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_a_mismatch_says_what_differs(tmp_path, name):
    like, match = MISMATCHES[name]
    save(tmp_path / "a", model())
    with pytest.raises(ValueError, match=match):
        load(tmp_path / "a", like)


def test_a_long_list_of_differences_is_cut(tmp_path):
    save(tmp_path / "a", [0.0] * 3)
    with pytest.raises(ValueError, match=r"got \[3\]: a Python int; .*\[12\]: a Python int \(and 2 more\); .*nothing"):
        load(tmp_path / "a", [0.0] * 3 + [1] * 12)


def test_a_key_of_another_implementation_is_a_mismatch(tmp_path):
    save(tmp_path / "a", jr.key(0))
    with pytest.raises(ValueError, match=r"got \(top\): key<rbg>\[\]; expected .*\(top\): key<fry>\[\]"):
        load(tmp_path / "a", jr.key(0, impl="rbg"))


def test_float64_needs_x64(tmp_path):
    save(tmp_path / "a", jnp.ones(2))
    like = jax.ShapeDtypeStruct((2,), jnp.float64)
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ValueError, match=r"got float64 while JAX is set to 32 bits; .*enable `jax_enable_x64`"):
            load(tmp_path / "a", like)
    finally:
        jax.config.update("jax_enable_x64", True)


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"`tree\['a'\]`: got .*, which has no value; .* outside `jit`"):
        jax.jit(lambda x: save(tmp_path / "a", {"a": x}))(1.0)
    with pytest.raises(ValueError, match=r"`tree\[0\]`: got ShapeDtypeStruct.* which has no value"):
        save(tmp_path / "a", [jax.ShapeDtypeStruct((2,), jnp.float64)])
    with pytest.raises(ValueError, match=r"`tree\[0\]`: got an array of dtype object; expected numbers"):
        save(tmp_path / "a", [np.array([None])])
    with pytest.raises(ValueError, match=r"`path`: got .*, which cannot be written"):
        save(tmp_path / "missing" / "a", 1.0)
    assert list(tmp_path.iterdir()) == []


def test_every_truncation_and_every_flipped_byte_is_found(tmp_path):
    path = tmp_path / "a"
    save(path, (jnp.arange(2.0), 0.1))
    content = path.read_bytes()
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match=r"`path`: got .*(truncated or corrupt|which starts with)"):
            load(path, (jnp.zeros(2), 0.0))
        path.write_bytes(content[:n] + bytes([content[n] ^ 1]) + content[n + 1 :])
        with pytest.raises(ValueError, match=r"`path`: got .*(truncated or corrupt|which starts with)"):
            load(path, (jnp.zeros(2), 0.0))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`path`: got .*missing, which is not a file; expected a file written by"):
        load(tmp_path / "missing", 0.0)
    (tmp_path / "a").write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(
        ValueError, match=r"`path`: got .*which starts with b'\\x80\\x04K.*; expected a file written by"
    ):
        load(tmp_path / "a", 0.0)


def forge(path, change):
    """A file with a valid checksum whose header was changed."""
    content = path.read_bytes()
    start = 16 + int.from_bytes(content[8:16], "little")
    header = json.loads(content[16:start])
    header = change(header) or header
    text = json.dumps(header).encode()
    body = content[:8] + len(text).to_bytes(8, "little") + text + content[start:-32]
    path.write_bytes(body + hashlib.sha256(body).digest())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda h: h.update(format=2, package="9.1"), r"in format 2, written by version 9.1; expected format 1"),
        (
            lambda h: {k: v for k, v in h.items() if k != "leaves"},
            r"truncated or corrupt: its header cannot be read: .*'leaves'",
        ),
        (
            lambda h: {k: v for k, v in h.items() if k != "class"},
            r"truncated or corrupt: its header cannot be read: .*'class'",
        ),
        (lambda h: [1], r"truncated or corrupt: its header cannot be read"),
        (lambda h: h["leaves"][0].update(shape=[10**30]), r"bytes of data where its header says"),
        (lambda h: h["leaves"][0].update(dtype="os.system"), r"truncated or corrupt: its header cannot be read"),
        (lambda h: h["leaves"].reverse(), r"got leaves in another order; expected what is stored"),
    ],
)
def test_a_forged_header_is_refused(tmp_path, change, match):
    path = tmp_path / "a"
    save(path, (jnp.zeros(2), 1.0))
    forge(path, change)
    with pytest.raises(ValueError, match=match):
        load(path, (jnp.zeros(2), 1.0))
