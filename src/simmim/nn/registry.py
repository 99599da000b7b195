"""A mapping from public names to classes that says what it knows when it is asked for what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from simmim.errors import ConfigError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(dict[str, type[T]], Generic[T]):
    """Maps a setting's values to the classes that they name.

    Args:
        setting: the name of the setting, for the error message.
    """

    def __init__(self, setting: str) -> None:
        super().__init__()
        self.setting = setting

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Make a decorator that adds a class under a name."""

        def add(cls: type[T]) -> type[T]:
            if name in self:
                raise ConfigError(f"{self.setting}: {name!r} is registered already; choose another name")
            self[name] = cls
            return cls

        return add

    def find(self, name: str) -> type[T]:
        """Return the class of a name.

        Raises:
            ConfigError: nothing is registered under it.
        """
        if name not in self:
            raise ConfigError(f"{self.setting}: expected one of {', '.join(sorted(self))}; got {name!r}")
        return self[name]
