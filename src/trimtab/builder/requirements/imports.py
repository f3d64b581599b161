"""What a handler imports and no requirement brings: proposed, with the reason, and never installed by guess."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version

from msgspec import Struct

from trimtab.builder.abc import Content
from trimtab.builder.requirements.listing import normalised
from trimtab.builder.source.handler import module_file
from trimtab.runtime.cells import read as cells_of

_NAMES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "git": "gitpython",
    "google.cloud.bigquery": "google-cloud-bigquery",
    "google.cloud.storage": "google-cloud-storage",
    "google.protobuf": "protobuf",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "magic": "python-magic",
    "mpl_toolkits": "matplotlib",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "usb": "pyusb",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}
"""Modules whose distribution has another name."""
GUESS = "a guess by the module's name: look it up before you take it"
"""The reason of a proposal that nothing speaks for."""
_GUARDS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


class Missing(Struct, frozen=True):
    """An import that nothing required brings. `optional`: guarded by try or if, or only made when a function is called."""

    module: str
    distribution: str
    reason: str
    """How sure the proposal is, and why."""
    where: str
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.where} imports {self.module!r}: require {self.distribution} ({self.reason})"


def missing(files: Mapping[str, Content], handler: str, provided: Collection[str]) -> list[Missing]:
    """Look through the handler's module, and those of its files that it imports, for what `provided`, names of
    distributions, does not bring. What one cannot know is said to be so."""
    names = {normalised(name) for name in provided}
    found: dict[str, Missing] = {}
    for module, where, optional in _imports(files, handler):
        candidates = {normalised(each) for each in [*_installed(module), _known(module) or module.partition(".")[0]]}
        top = module.partition(".")[0]
        if candidates & names or (top in found and found[top].optional <= optional):
            continue
        distribution, reason = propose(module)
        found[top] = Missing(module, distribution, reason, where, optional)
    return list(found.values())


def propose(module: str) -> tuple[str, str]:
    """Name the distribution that brings a module, and how that is known."""
    for name in _installed(module):
        try:
            return f"{name}=={version(name)}", "it brings the module here"
        except PackageNotFoundError:
            continue
    known = _known(module)
    if known:
        return known, "known to bring the module; it is not installed here"
    return module.partition(".")[0].replace("_", "-"), GUESS


def _installed(module: str) -> list[str]:
    return list(dict.fromkeys(packages_distributions().get(module.partition(".")[0], [])))


def _known(module: str) -> str | None:
    parts = module.split(".")
    return next((_NAMES[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in _NAMES), None)


def _imports(files: Mapping[str, Content], handler: str) -> Iterator[tuple[str, str, bool]]:
    """Yield what the handler's module and the files it reaches import: module, place, whether it is optional."""
    own = {name.partition("/")[0].removesuffix(".py") for name in files if name.endswith(".py")}
    waiting, seen = [module_file(handler, files)], set[str]()
    while waiting:
        name = waiting.pop()
        if name is None or name in seen:
            continue
        seen.add(name)
        content = files[name]
        text = (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8", "replace")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue  # whoever loads it says so
        for module, line, optional in _found(tree.body, optional=False):
            top = module.partition(".")[0]
            if top in own:
                waiting += [module_file(module, files), module_file(top, files)]
            elif top not in sys.stdlib_module_names and top not in {"trimtab", "__future__"}:
                yield module, _place(text, name, line), optional


def _found(body: list[ast.stmt], *, optional: bool) -> Iterator[tuple[str, int, bool]]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno, optional
        elif isinstance(node, ast.Try):
            yield from _found(node.body, optional=optional or _guarded(node))
            rest = [*node.orelse, *node.finalbody, *(each for h in node.handlers for each in h.body)]
            yield from _found(rest, optional=True)
        elif isinstance(node, ast.If):
            typed = "TYPE_CHECKING" in ast.unparse(node.test)
            yield from _found(node.orelse if typed else [*node.body, *node.orelse], optional=optional or not typed)
        else:
            later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            inner = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)]
            yield from _found(inner, optional=optional or later)


def _guarded(node: ast.Try) -> bool:
    caught = [name.id for h in node.handlers if h.type for name in ast.walk(h.type) if isinstance(name, ast.Name)]
    return bool(_GUARDS & set(caught)) or any(h.type is None for h in node.handlers)


def _place(text: str, name: str, line: int) -> str:
    cells = cells_of(text)
    found = cells.locate(line) if cells else None
    return f"{cells.notebook}, cell {found[0]}, line {found[1]}," if cells and found else f"{name}, line {line},"
