"""Drawing without replacement in epochs, without a state."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PRNGKeyArray, UInt32

from sciml.core import invalid

_ROUNDS = 6  # pairs of rounds; four single ones suffice in theory for large halves, ours may have one bit


def check_batching(count: int, size: int) -> None:
    """Raises unless `draw` can serve the batch size."""
    if not 1 <= size <= count:
        raise invalid(
            "size",
            size,
            f"1 <= size <= {count}, the number of instances",
            "decrease it, or use `Fixed` for all instances at once",
        )
    if math.lcm(count, size) >= 2**31:
        raise invalid(
            "size",
            f"{size} for {count} instances",
            "a least common multiple below 2^31",
            "choose a size that shares a factor with the number of instances, for instance a power of two",
        )


def draw(step: Int[ArrayLike, ""], count: int, size: int, key: PRNGKeyArray) -> Int[Array, " batch"]:
    """The indices of the instances of a step: `size` consecutive entries of a sequence of permutations, one per epoch.

    Entry `j` of the sequence is entry `j mod count` of the permutation of epoch `j div count`. Nothing is dropped:
    where `size` does not divide `count`, a batch may end one epoch and begin the next.
    """
    step = jnp.asarray(step).astype(jnp.arange(0).dtype)
    # After `period` steps a whole number of epochs has passed; counting within it keeps `first` below lcm(count, size).
    divisor = math.gcd(count, size)
    period, epochs = count // divisor, size // divisor
    first = (step % period) * size
    epoch, offset = (step // period) * epochs + first // count, first % count
    entry = offset + jnp.arange(size)
    here, following = _round_keys(key, epoch), _round_keys(key, epoch + 1)
    keys = jnp.where(entry < count, here[:, None], following[:, None])
    slot = jnp.where(entry < count, entry, entry - count)
    return _permute(slot.astype(jnp.uint32), count, keys).astype(jnp.arange(0).dtype)


def _round_keys(key: PRNGKeyArray, epoch: Int[Array, ""]) -> UInt32[Array, " rounds"]:
    return jr.bits(jr.fold_in(key, epoch), (2 * _ROUNDS,), jnp.uint32)


def _permute(slot: UInt32[Array, " batch"], count: int, keys: UInt32[Array, "rounds batch"]) -> UInt32[Array, " batch"]:
    """The entries `slot` of a pseudorandom permutation of `range(count)`, without forming it.

    A Feistel network permutes `range(2^bits)`, `count <= 2^bits < 2 count`; where it leaves `range(count)` it is
    applied again until it returns, which is a permutation of `range(count)`. Cost: the batch's size, whatever `count`.

    Source: M. Luby & C. Rackoff (1988), SIAM J. Comput. 17(2), doi:10.1137/0217022; J. Black & P. Rogaway (2002),
    "Ciphers with arbitrary finite domains", method 2 (cycle walking), doi:10.1007/3-540-45760-7_9. The round function
    is the finaliser of A. Appleby's MurmurHash3: statistically good, no cipher.
    """
    bits = max(1, (count - 1).bit_length())
    half = jnp.uint32((bits + 1) // 2)
    low, high = jnp.uint32(2 ** ((bits + 1) // 2) - 1), jnp.uint32(2 ** (bits // 2) - 1)

    def network(value: UInt32[Array, " batch"]) -> UInt32[Array, " batch"]:
        left, right = value >> half, value & low
        for i in range(_ROUNDS):
            left = left ^ (_mix(right ^ keys[2 * i]) & high)
            right = right ^ (_mix(left ^ keys[2 * i + 1]) & low)
        return (left << half) | right

    def walk(value: UInt32[Array, " batch"]) -> UInt32[Array, " batch"]:
        return jnp.where(value < count, value, network(value))

    return jax.lax.while_loop(lambda value: jnp.any(value >= count), walk, network(slot))


def _mix(value: UInt32[Array, " batch"]) -> UInt32[Array, " batch"]:
    value = (value ^ (value >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    value = (value ^ (value >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    return value ^ (value >> jnp.uint32(16))
