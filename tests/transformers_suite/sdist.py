"""Imports the common tests of transformers' source distribution, which are not part of what is installed.

``make test-transformers`` fetches and unpacks it. It leaves out the folders below ``tests``, though the common tests
import from them: empty ones stand in. Exporting and generation are tested in tests/unit and tests/property.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import transformers

__all__ = ["common_tests"]

NAME = "transformers_tests"
VARIABLE = "TRANSFORMERS_SDIST"
"""Names the unpacked source distribution."""
ABSENT: dict[str, tuple[str, object]] = {
    "exporters.test_export": ("ExportTesterMixin", type("ExportTesterMixin", (), {})),
    "generation.test_utils": ("GenerationTesterMixin", type("GenerationTesterMixin", (), {})),
}
"""What the common tests import, and the distribution lacks."""


def common_tests(module: str) -> ModuleType:
    """Return a module of the distribution's tests; skip where there is no distribution."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        pytest.skip(f"{VARIABLE} is not set; run make test-transformers", allow_module_level=True)
    tests = Path(folder) / "tests"
    found = f"transformers-{transformers.__version__}"
    assert Path(folder).name == found, f"{VARIABLE}: expected {found}, the version that is installed; got {folder}"
    assert (tests / f"{module}.py").is_file(), f"{tests}: expected {module}.py"
    if NAME not in sys.modules:
        _package(NAME, tests)
        for name, (attribute, value) in ABSENT.items():
            assert not (tests / f"{name.replace('.', '/')}.py").exists(), f"{name} has come: use it"
            _package(f"{NAME}.{name.split('.')[0]}", None)
            setattr(_package(f"{NAME}.{name}", None), attribute, value)
    return importlib.import_module(f"{NAME}.{module}")


def _package(name: str, folder: Path | None) -> ModuleType:
    made = ModuleType(name)
    made.__path__ = [] if folder is None else [str(folder)]
    sys.modules[name] = made
    return made
