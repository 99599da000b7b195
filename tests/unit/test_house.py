"""Tests the house itself: the size of the wheel, that no imports form a circle, and that public names are described."""

from __future__ import annotations

import ast
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "simmim"
FILES = sorted(file for file in PACKAGE.rglob("*.py") if "pretrained" not in file.relative_to(PACKAGE).parts[:-1])
MOST_LINES = 36_480  # of the wheel's Python; lowered whenever it can be, raised with a new feature alone
MOST_BYTES = 34_000_000  # of what is packed, the shipped models included
LONG = {"reference"}  # over 300 lines, as it was


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in FILES}


def test_the_wheel_does_not_grow() -> None:
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in FILES)
    assert lines <= MOST_LINES
    packed = [file for file in PACKAGE.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert sum(file.stat().st_size for file in packed) <= MOST_BYTES
    assert {file.stem for file in FILES if len(file.read_text(encoding="utf-8").splitlines()) > 300} <= LONG


def test_the_wheel_knows_nothing_of_the_lab() -> None:
    for module, tree in MODULES.items():
        for name in imported(tree):
            assert name.partition(".")[0] not in ("lab", "benchmarks", "tests"), f"{module} imports {name}"


def imported(tree: ast.Module) -> list[str]:
    """Return the modules that a module imports, anywhere in it, and the names that it takes from packages."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]
    return found


def test_no_imports_form_a_circle() -> None:
    """Those behind TYPE_CHECKING and within functions included; the lazy names of the root are what everybody gets."""
    graph = nx.DiGraph(
        (module, name)
        for module, tree in MODULES.items()
        for name in imported(tree)
        if module != "simmim" and name in MODULES and name != module
    )
    circles = {frozenset(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1}
    assert circles == set()


def public(module: str) -> list[ast.stmt]:
    """Return the definitions of a module that its __all__ names."""
    names: set[str] = set()
    for node in MODULES[module].body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == "__all__":
            names = set(ast.literal_eval(node.value))  # type: ignore[attr-defined, arg-type]
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node for node in MODULES[module].body if isinstance(node, kinds) and node.name in names]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_described(module: str) -> None:
    assert ast.get_docstring(MODULES[module])
    for node in public(module):
        assert ast.get_docstring(node), f"{module}.{node.name}"  # type: ignore[attr-defined, arg-type]
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                is_setter = any(ast.unparse(one).endswith(".setter") for one in getattr(part, "decorator_list", []))
                if isinstance(part, ast.FunctionDef) and not part.name.startswith("_") and not is_setter:
                    assert ast.get_docstring(part), f"{module}.{node.name}.{part.name}"
