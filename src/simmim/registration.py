"""Registers SimMIM's models with transformers' Auto classes, whichever of the two packages is imported first.

transformers has no entry point for models of other packages, so simmim waits for it: a finder on ``sys.meta_path``
passes the import of transformers on to the finders behind it and registers the models when it has ended.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["register_when_needed"]

_LIBRARY = "transformers"


def register_when_needed() -> None:
    """Register the models with the Auto classes: now if transformers is imported already, else when it is.

    An application that imports simmim and never transformers pays nothing.
    """
    if _LIBRARY in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _AfterImport())


def _register() -> None:
    import_module("simmim.models")


class _AfterImport:
    """Finds transformers as the finders behind it do, and registers the models after its import; once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of transformers, with a loader that registers; None for every other module."""
        if fullname != _LIBRARY:
            return None
        found = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]  # of this one loader
        return spec
