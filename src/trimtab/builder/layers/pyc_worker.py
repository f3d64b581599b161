"""Runs under the target's Python, alone and without Trimtab: compiles what it is told into hash-based .pyc files.

Each line of standard input is a batch, in JSON: [[source, name in the image, .pyc to write, whether the source is compared
at import], ...]. Each batch is compiled in a process forked from the same state: marshal writes down which constants
happen to be shared with whatever was compiled before, so that the bytes would otherwise depend on the order. (A process
for each file would cost more than compiling it.)
"""

import gc
import importlib._bootstrap_external as bootstrap
import importlib.util
import json
import os
import sys


def compile_file(source: str, name: str, target: str, checked: bool) -> None:
    """Write one .pyc; a file that is not Python of this version is left alone, as pip leaves it."""
    with open(source, "rb") as file:  # noqa: PTH123  (importing pathlib costs more than compiling most files)
        data = file.read()
    try:
        code = compile(data, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return
    packed = bootstrap._code_to_hash_pyc(code, importlib.util.source_hash(data), checked)  # type: ignore[attr-defined]  # noqa: SLF001
    with open(target, "wb") as file:  # noqa: PTH123
        file.write(packed)


def main() -> int:
    """Compile what standard input names; the exit code is that of the first batch that failed."""
    worst = 0
    gc.disable()  # a batch's process ends before garbage matters, and looking for it costs a tenth
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                for entry in json.loads(line):
                    compile_file(*entry)
            except OSError as exc:
                os.write(2, f"{exc}\n".encode())
                os._exit(1)
            os._exit(0)
        worst = worst or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return worst


if __name__ == "__main__":
    sys.exit(main())
