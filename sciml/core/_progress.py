"""A progress bar if `tqdm` is there, silence if it is not."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """What long-running verbs need from a progress bar."""

    def update(self, n: int) -> object:
        """Advances by `n`."""

    def set_postfix_str(self, s: str) -> object:
        """Shows `s` behind the bar."""


class _Silent:
    def update(self, n: int) -> None:
        del n

    def set_postfix_str(self, s: str) -> None:
        del s


@contextmanager
def progress_bar(total: int, label: str, *, shown: bool = True) -> Iterator[Bar]:
    """A bar on the standard error stream; silent if `shown` is False or `tqdm` is not installed."""
    if shown:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            shown = False
    if not shown:
        yield _Silent()
        return
    with tqdm(total=total, desc=label, file=sys.stderr, leave=False, mininterval=0.5) as bar:
        yield bar
