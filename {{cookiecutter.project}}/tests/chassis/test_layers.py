"""Imports point one way: nothing in the chassis knows what is above it, and none go round."""

import ast
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

from {{ cookiecutter.__package }} import chassis

CHASSIS = Path(chassis.__file__).parent
PACKAGE = CHASSIS.parent
TYPE_CHECKING = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def find_imports(file: Path, but_types: bool = False) -> list[tuple[int, str]]:
    """The line and the whole name of each import from the package, wherever in the file it is.

    With `but_types`, none of those that only a type checker sees.
    """
    parent = ".".join(file.relative_to(PACKAGE.parent).parts[:-1])
    found = []
    nodes = [*ast.walk(ast.parse(file.read_text()))]
    checks = [n for n in nodes if isinstance(n, ast.If) and ast.unparse(n.test) in TYPE_CHECKING]
    left_out = [each for check in checks for each in check.body] if but_types else []
    unseen = {node for each in left_out for node in ast.walk(each)}
    for node in (each for each in nodes if each not in unseen):
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
        for _, name in find_imports(file, but_types=True):
            graph.add(module, name if name in modules else name.rpartition(".")[0])
    graph.prepare()
