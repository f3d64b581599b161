"""Our reading of ignore files against git's own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.builder.source.folder import Folder

NAMES = ("a", "b", "ab", "a.py", "b.txt")
PARTS = st.sampled_from(["a", "b", "ab", "*", "a*", "*.py", "?", "[ab]", "[!a]", "**", "b.txt"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    parts = draw(st.lists(PARTS, min_size=1, max_size=3))
    text = "/".join(parts)
    ends = ["", "", "/", " "]
    return (
        draw(st.sampled_from(["", "", "!", "#"]))
        + draw(st.sampled_from(["", "", "/"]))
        + text
        + draw(st.sampled_from(ends))
    )


FILES = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join), min_size=1, max_size=8)
RULES = st.dictionaries(
    st.sampled_from(["", "a/", "b/", "a/b/"]), st.lists(patterns(), min_size=1, max_size=4), max_size=3
)


@settings(max_examples=60)
@given(files=FILES, rules=RULES)
def test_gitignore_means_what_it_means_to_git(files: list[str], rules: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        subprocess.run(["git", "init", "--quiet", "--template=", scratch], check=True)
        made = [name for name in dict.fromkeys(files) if _make(root / name, "")]
        for place, lines in rules.items():
            if (root / place).is_dir():
                _make(root / place / ".gitignore", "\n".join([*lines, ""]))
        taken = {name for name in Folder(root).files if not name.endswith(".gitignore")}
        assert taken == _by_git(root, made)


def _make(path: Path, text: str) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError:  # a file of that name is in the way
        return False
    return True


def _by_git(root: Path, names: list[str]) -> set[str]:
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(root)}
    done = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-per-directory=.gitignore", "-z"],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split("\0")) & set(names)
