"""What watches a fit between chunks of steps: keep the best, stop early, log, checkpoint."""

import json
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..core import invalid, tree_where
from ..storage import output_folder


class Event(eqx.Module):
    """What a monitor sees at one of its steps."""

    step: int
    """Steps done so far."""
    loss: float
    """Mean training loss since the last event of the fit."""
    model: Any
    """The model as it is now, transforms resolved."""
    parameters: Any
    """The trained arrays, for a monitor to keep."""


class AbstractMonitor(eqx.Module):
    """Called on the host every `every` steps. Its memory is a pytree of arrays, stored with checkpoints."""

    every: eqx.AbstractVar[int]

    def __check_init__(self) -> None:
        if self.every < 1:
            raise invalid("every", self.every, "a number of steps >= 1", "leave it at its default")

    @abstractmethod
    def init(self, parameters: Any) -> Any:
        """The memory before the first step."""

    @abstractmethod
    def update(self, memory: Any, event: Event) -> tuple[Any, bool]:
        """The next memory, and whether to stop the fit."""

    @abstractmethod
    def finish(self, memory: Any, parameters: Any) -> Any:
        """The parameters to return: those given, of the last step, unless the monitor kept better ones."""


class Best(eqx.Module):
    """The memory of `KeepBest`."""

    score: Float[Array, ""]
    step: Int[Array, ""]
    parameters: Any


class KeepBest(AbstractMonitor):
    """Returns the parameters with the lowest score that was seen, not the last ones.

    Args:
        score: `model -> number` on data held out from training, lower is better; NaN never wins.
        every: steps between evaluations.
        patience: stop the fit after this many steps without improvement; None never stops.
    """

    score: Callable[[Any], Any]
    every: int = 100
    patience: int | None = None

    def init(self, parameters: Any) -> Best:
        """Nothing seen yet."""
        return Best(jnp.asarray(jnp.inf, jnp.zeros(()).dtype), jnp.asarray(0), parameters)

    def update(self, memory: Best, event: Event) -> tuple[Best, bool]:
        """Scores the model; keeps it if it is better."""
        score = jnp.asarray(_score(self.score, event.model)).astype(memory.score.dtype)
        better: Bool[Array, ""] = score < memory.score
        new = Best(score, jnp.asarray(event.step), event.parameters)
        memory = tree_where(better, new, memory)
        waited = event.step - int(memory.step)
        return memory, self.patience is not None and waited >= self.patience

    def finish(self, memory: Best, parameters: Any) -> Any:
        """The best parameters, if any score was finite."""
        return tree_where(jnp.isfinite(memory.score), memory.parameters, parameters)


class Log(AbstractMonitor):
    """Appends one JSON line with step and loss to a file.

    A fit that resumes appends as well: steps between the last checkpoint and the interruption are there twice.

    Args:
        path: the file; it and its folder are created if they are missing.
        every: steps between lines.
    """

    path: str
    every: int = 100

    def init(self, parameters: Any) -> None:
        """No memory; the folder is made."""
        output_folder(Path(self.path).parent)

    def update(self, memory: None, event: Event) -> tuple[None, bool]:
        """Writes one line."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": event.step, "loss": event.loss}) + "\n")
        return None, False

    def finish(self, memory: None, parameters: Any) -> Any:
        """The parameters of the last step."""
        return parameters


@eqx.filter_jit
def _score(score: Callable[[Any], Any], model: Any) -> Any:
    return score(model)
