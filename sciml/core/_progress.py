"""A progress bar if `tqdm` is installed, otherwise nothing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """The interface of a progress bar."""

    def update(self, n: int) -> object:
        """Advances the bar by `n` units."""

    def set_postfix_str(self, s: str) -> object:
        """Shows the text `s` after the bar."""


class _Silent:
    def update(self, n: int) -> None:
        del n

    def set_postfix_str(self, s: str) -> None:
        del s


@contextmanager
def progress_bar(total: int, label: str, *, shown: bool = True) -> Iterator[Bar]:
    """A progress bar on standard error; shows nothing if `shown` is False or `tqdm` is not installed."""
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
