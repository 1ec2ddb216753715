"""Files of an old version that another process has dropped: what reads it looks again at the newest."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from plait.errors import Failure


class Gone(Failure):
    """A file of the version that is read is not there."""


class Refreshing(Protocol):
    """What can go on to the newest version."""

    def refresh(self) -> None:
        """Read the newest version from now on."""


Self_ = TypeVar("Self_", bound=Refreshing)
P = ParamSpec("P")
R = TypeVar("R")


def retried(method: Callable[Concatenate[Self_, P], R]) -> Callable[Concatenate[Self_, P], R]:
    """A method that is called once more, after refresh(), where it finds files gone."""

    @functools.wraps(method)
    def call(self: Self_, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except Gone:
            self.refresh()
            return method(self, *args, **kwargs)

    return call
