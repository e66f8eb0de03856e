"""Imports point one way: nothing in the chassis knows what is above it, and none go round."""

import ast
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

from {{ cookiecutter.__package }} import chassis

CHASSIS = Path(chassis.__file__).parent
PACKAGE = CHASSIS.parent


def find_imports(file: Path) -> list[tuple[int, str]]:
    """The line and the whole name of each import from the package, wherever in the file it is."""
    parent = ".".join(file.relative_to(PACKAGE.parent).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), parent)
            names = [f"{module}.{name}" for name in names]
        found += [(getattr(node, "lineno", 0), n) for n in names if n.startswith(PACKAGE.name)]
    return found


def test_chassis_imports_nothing_from_above() -> None:
    inside = f"{PACKAGE.name}.{CHASSIS.name}."
    outside = [
        f"{file.relative_to(PACKAGE.parent)}:{line} imports {name}"
        for file in CHASSIS.rglob("*.py")
        for line, name in find_imports(file)
        if not name.startswith(inside)
    ]
    assert outside == []


def test_no_imports_go_round() -> None:
    """`graphlib.CycleError` names the modules of a circle."""
    modules = {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for file in PACKAGE.rglob("*.py")
    }
    files = {each: PACKAGE.parent.joinpath(*each.split(".")) for each in modules}
    graph = TopologicalSorter[str]()
    for module, path in files.items():
        module_file = path.with_suffix(".py")
        file = module_file if module_file.is_file() else path / "__init__.py"
        for _, name in find_imports(file):
            graph.add(module, name if name in modules else name.rpartition(".")[0])
    graph.prepare()
