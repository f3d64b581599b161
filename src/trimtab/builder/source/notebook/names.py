"""Names that exported code uses and nothing in it defines: in the notebook they came from cells that are gone."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator

from trimtab.builder.source.notebook.document import Cell
from trimtab.builder.source.notebook.scan import scan
from trimtab.runtime.cells import Cells

_GIVEN = frozenset(
    {
        *vars(builtins),
        "__name__",
        "__file__",
        "__doc__",
        "__spec__",
        "__path__",
        "__class__",
        "__annotations__",
        "__package__",
    }
)
_IPYTHONS = {
    "display": "it is IPython's: `from IPython.display import display`, or tag the cell 'ignore'",
    "get_ipython": "it is there in notebooks only: tag the cell 'ignore'",
    "In": "it is IPython's",
    "Out": "it is IPython's",
}


def undefined(text: str, cells: Cells, kept: list[Cell], left_out: list[tuple[Cell, str]]) -> list[str]:
    """Say which names the exported `text` uses and does not define, where, and which cell would define them: a line of
    IPython in one that is `kept`, or one that is `left_out`."""
    try:
        tree, table = ast.parse(text), symtable.symtable(text, cells.notebook, "exec")
    except (SyntaxError, ValueError):
        return []
    if any(_is_opaque(node) for node in ast.walk(tree)):
        return []
    missing = set(_used(table)) - set(_defined(table)) - _GIVEN
    places = {
        node.id: node.lineno for node in sorted(_loads(tree), key=lambda node: -node.lineno) if node.id in missing
    }
    elsewhere = [(cell, _of_ipython(cell), "by a line of IPython, which is") for cell in kept]
    elsewhere += [(cell, _names_of(cell), f"and the cell ({reason}) is") for cell, reason in left_out]
    return [_sentence(name, cells.locate(line), elsewhere) for name, line in sorted(places.items(), key=lambda p: p[1])]


def deploys_itself(text: str) -> int | None:
    """Give the line on which code that runs at import makes a function: a replica would deploy it again at each start."""
    waiting: list[ast.AST] = list(ast.parse(text).body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "code_to_function":
            return node.lineno
        waiting += ast.iter_child_nodes(node)
    return None


def _is_opaque(node: ast.AST) -> bool:
    """Whether a node may define names that cannot be seen: `from x import *`, `exec`, `globals()`."""
    if isinstance(node, ast.ImportFrom):
        return node.names[0].name == "*"
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"exec", "globals", "eval"}
    )


def _loads(tree: ast.AST) -> list[ast.Name]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _used(top: symtable.SymbolTable) -> Iterator[str]:
    for table in _tables(top):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                yield symbol.get_name()


def _defined(top: symtable.SymbolTable) -> Iterator[str]:
    for table in _tables(top):
        for symbol in table.get_symbols():
            bound = symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
            if bound and (table is top or symbol.is_declared_global()):
                yield symbol.get_name()


def _sentence(name: str, place: tuple[int, int] | None, elsewhere: list[tuple[Cell, set[str], str]]) -> str:
    where = f"cell {place[0]}, line {place[1]}" if place else "the module"
    said = f"{where} uses {name!r}, which no exported cell defines"
    if name in _IPYTHONS:
        return f"{said}: {_IPYTHONS[name]}"
    for cell, names, how in elsewhere:
        if name in names:
            return f"{said}: cell {cell.number} does, {how} left out"
    return f"{said}: it is left of a cell that was changed or deleted"


def _of_ipython(cell: Cell) -> set[str]:
    """The names that a cell gives to what IPython's lines return (`files = !ls`)."""
    lines = [line for line, found in zip(cell.lines, scan(cell.lines), strict=True) if found.ipython and "=" in line]
    return {name.strip() for line in lines for name in line.partition("=")[0].split(",")}


def _names_of(cell: Cell) -> set[str]:
    """The names that a cell defines at its top, as far as it can be read."""
    scanned = scan(cell.lines)
    text = "\n".join("" if found.ipython else line for line, found in zip(cell.lines, scanned, strict=True))
    try:
        return _of_ipython(cell) | set(_defined(symtable.symtable(text, "cell", "exec")))
    except (SyntaxError, ValueError):
        return _of_ipython(cell)
