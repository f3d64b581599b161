from __future__ import annotations

import gzip
import io
import marshal
import os
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.builder.abc import Code
from trimtab.builder.cache import Cache, digest_of, digest_of_bytes
from trimtab.builder.layers import code, interpreter, pyc, tar
from trimtab.builder.layers.compress import Compression, Compressor
from trimtab.builder.layers.layer import make
from trimtab.errors import BuildError, StoreFull


def packed(entries: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    tar.write(entries, sink)
    return sink.getvalue()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def file(path: Path, content: bytes = b"x", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


NAMES = st.from_regex(r"[a-zäöü 0-9._-]{1,40}", fullmatch=True).filter(lambda name: name not in (".", ".."))


@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=20))
def test_a_tar_depends_on_names_and_contents_and_not_on_their_order(files: dict[str, bytes]) -> None:
    data = packed(dict(files))
    assert data == packed(dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
    assert {name: content.read() for name, content in found.items() if content} == files
    assert list(found) == sorted(found)


def test_owners_modes_and_times_of_the_disk_do_not_matter(tmp_path: Path) -> None:
    one = {"a/run": file(tmp_path / "1" / "run", mode=0o700), "a/text": file(tmp_path / "1" / "text", mode=0o600)}
    two = {"a/run": file(tmp_path / "2" / "run", mode=0o777), "a/text": file(tmp_path / "2" / "text", mode=0o666)}
    os.utime(two["a/run"], (1, 1))
    assert packed(dict(one)) == packed(dict(two))
    found = members(packed(dict(one)))
    assert {name: member.mode for name, member in found.items()} == {"a": 0o755, "a/run": 0o755, "a/text": 0o644}
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in found.values()} == {
        (0, 0, "", tar.MTIME)
    }


def test_setuid_files(tmp_path: Path) -> None:
    """A set-user-ID bit does not get into an image."""
    path = file(tmp_path / "root", mode=0o755)
    path.chmod(0o6755)
    assert path.stat().st_mode & stat.S_ISUID
    assert members(packed({"root": path}))["root"].mode == 0o755


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a//b", "./a", "a/./b", "", "..", "a/"])
def test_path_escapes(name: str) -> None:
    with pytest.raises(BuildError) as caught:
        packed({name: b"x"})
    assert str(caught.value) == (
        f"{name!r} leads out of the function's folder: names are relative, without '..' and '.'"
    )


def test_non_utf8_names() -> None:
    with pytest.raises(BuildError) as caught:
        packed({os.fsdecode(b"caf\xe9.txt"): b"x"})
    assert str(caught.value) == (
        "the name b'caf\\xe9.txt' is not UTF-8, which names in an image have to be: rename the file, or leave it out in"
        " .trimtabignore"
    )


def test_sockets(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        with pytest.raises(BuildError) as caught:
            packed({"socket": path})
    assert str(caught.value) == f"{str(path)!r} is a socket; an image holds files, folders and links"


def test_a_named_pipe_does_not_hold_the_build_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(BuildError, match=r"pipe' is a named pipe; an image holds files, folders and links$"):
        packed({"pipe": path})


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^'.*gone' cannot be read: No such file or directory$"):
        packed({"gone": tmp_path / "gone"})


def test_symlink_loops(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BuildError, match=r"^'.*loop' cannot be read: Too many levels of symbolic links$"):
        packed({"loop": tmp_path / "loop"})


class Growing(io.BytesIO):
    """A sink in whose course the file is written to."""

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__()
        self.path, self.content, self.done = path, content, False

    def write(self, data: Any, /) -> int:
        if not self.done:
            self.done = True
            self.path.write_bytes(self.content)
        return super().write(data)


@pytest.mark.parametrize("content", [b"x" * 10, b"x" * 100_000])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, content: bytes) -> None:
    path = file(tmp_path / "log", b"y" * 50_000)
    with pytest.raises(BuildError) as caught:
        tar.write({"log": path}, Growing(path, content))
    assert str(caught.value) == f"{str(path)!r} changed while it was read: build again when nothing writes to it"


@given(st.lists(st.binary(max_size=300_000), max_size=12), st.sampled_from(["gzip", "zstd"]))
def test_compression_is_undone_by_the_standard_tools_and_depends_on_the_bytes_alone(
    parts: list[bytes], compression: Compression
) -> None:
    data = b"".join(parts)
    results = []
    for chunks in (parts, [data]):
        out = io.BytesIO()
        compressor = Compressor(out, compression)
        for chunk in chunks:
            compressor.write(chunk)
        digest, diff_id = compressor.finish()
        compressor.close()
        assert (digest, compressor.size) == (digest_of_bytes(out.getvalue()), len(out.getvalue()))
        assert diff_id == digest_of_bytes(data)
        results.append(out.getvalue())
    assert results[0] == results[1]
    assert plain(results[0], compression) == data


def plain(data: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.decompress(data)
    import zstandard

    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        return reader.read()


SPARSE = """
import sys
from pathlib import Path
from trimtab.builder.cache import Cache
from trimtab.builder.layers.layer import make
layer = make("code", {"large": Path(sys.argv[1])}, Cache(Path(sys.argv[2])), "gzip")
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, layer.size)
"""


def test_2_gb_files(tmp_path: Path) -> None:
    """A large file is taken as it is: memory stays bounded, and a sparse one costs next to nothing in the layer."""
    large = tmp_path / "large"
    with large.open("wb") as opened:
        opened.truncate(2 * 2**30 + 1)
    command = [sys.executable, "-c", SPARSE, str(large), str(tmp_path / "cache")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes, size = map(int, run.stdout.split())
    assert megabytes <= 200
    assert size < 8 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "trimtab-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(small_disk: Path, tmp_path: Path) -> None:
    cache = Cache(small_disk / "cache")
    with pytest.raises(StoreFull) as caught:
        make("code", {"noise": file(tmp_path / "noise", os.urandom(3 * 2**20))}, cache, "gzip")
    assert str(caught.value) == (
        f"the disk that holds {small_disk / 'cache'} is full: free some space and build again; nothing was left half-written"
    )
    assert [path for path in (small_disk / "cache").rglob("*") if path.is_file()] == []


AS_NOBODY = """
import os, sys
from pathlib import Path
from trimtab.builder.cache import Cache
from trimtab.errors import StoreError
os.setuid(65534)
cache = Cache(Path(sys.argv[1]))
for use in (lambda: cache.record("key", int), lambda: cache.path("sha256:0"), lambda: cache.keep("key", 2)):
    try:
        use()
    except StoreError as error:
        print(error)
"""


def test_a_cache_of_another_user_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder, "cache")
        Cache(root).keep("key", 1)
        root.chmod(0o700)
        run = subprocess.run([sys.executable, "-c", AS_NOBODY, str(root)], capture_output=True, text=True, check=True)
    told = f"{root} cannot be used (Permission denied): give yourself the right to, or name another place"
    assert run.stdout.splitlines() == [told] * 3


def compiled(
    folder: Path, files: dict[str, bytes], found: interpreter.Interpreter, *, checked: bool = True
) -> dict[str, bytes]:
    folder.mkdir()
    entries = pyc.compiled(dict(files), found, folder, checked=checked)
    return {name: path.read_bytes() for name, path in entries.items() if isinstance(path, Path)}


def ours() -> interpreter.Interpreter:
    found = interpreter.find(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert found is not None
    return found


def test_modules_are_compiled_with_the_hash_of_their_source(tmp_path: Path) -> None:
    tag = sys.implementation.cache_tag
    found = compiled(tmp_path / "pyc", {"function/a.py": b"x = 1\n"}, ours())
    data = found[f"function/__pycache__/a.{tag}.pyc"]
    assert int.from_bytes(data[4:8], "little") == 0b11  # PEP 552: by hash, and compared
    namespace: dict[str, Any] = {}
    module = marshal.loads(data[16:])
    exec(module, namespace)
    assert (namespace["x"], module.co_filename) == (1, "/function/a.py")


def test_libraries_are_not_compared_with_their_sources(tmp_path: Path) -> None:
    (data,) = compiled(tmp_path / "pyc", {"a.py": b"x = 1\n"}, ours(), checked=False).values()
    assert int.from_bytes(data[4:8], "little") == 0b01


def test_compiling_depends_on_the_files_alone(tmp_path: Path) -> None:
    """marshal writes down what constants are shared with; each batch is compiled in the same state."""
    stdlib = Path(os.__file__).parent
    files = {f"lib/{path.name}": path.read_bytes() for path in sorted(stdlib.glob("[a-m]*.py"))}
    first = compiled(tmp_path / "1", files, ours())
    assert first == compiled(tmp_path / "2", dict(reversed(files.items())), ours())
    assert len(first) == len(files)


def test_a_file_that_is_no_python_of_this_version_is_left_alone(tmp_path: Path) -> None:
    assert compiled(tmp_path / "pyc", {"old.py": b"print 'hello'\n", "null.py": b"a = '\0'"}, ours()) == {}


def test_a_missing_interpreter_leaves_sources_only(tmp_path: Path) -> None:
    assert interpreter.find("3.99") is None
    assert pyc.compiled({"a.py": b"x"}, None, tmp_path, checked=True) == {"a.py": b"x"}
    assert pyc.missing_note("3.99") == (
        "There is no CPython 3.99 on this machine, so the image holds sources only and each cold start compiles them; "
        "`uv python install 3.99` gives one, and a build then adds the .pyc files."
    )


def test_an_interpreter_that_fails_is_named(tmp_path: Path) -> None:
    broken = file(tmp_path / "python", b"#!/bin/sh\necho no such thing >&2; exit 3\n", 0o755)
    with pytest.raises(BuildError) as caught:
        compiled(tmp_path / "pyc", {"a.py": b"x"}, interpreter.Interpreter(broken, "3.11.0", "cpython-311"))
    assert str(caught.value) == f"compiling for Python 3.11.0 with {broken} failed: no such thing"


def test_the_code_layer_is_found_again_and_changes_with_one_byte(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def layer(text: bytes) -> Any:
        return code.layer(Code(files={"a.py": text}, handler="a"), ours(), cache, "gzip")

    first, again, other = layer(b"x = 1\n"), layer(b"x = 1\n"), layer(b"x = 2\n")
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert first.digest == again.digest == digest_of(cache.checked(first.digest))
    assert other.digest != first.digest
    names = members(gzip.decompress(cache.checked(first.digest).read_bytes()))
    tag = sys.implementation.cache_tag
    assert list(names) == ["function", "function/__pycache__", f"function/__pycache__/a.{tag}.pyc", "function/a.py"]


def test_the_compressions_do_not_share_a_layer(tmp_path: Path) -> None:
    cache, source = Cache(tmp_path / "cache"), Code(files={"a.py": b""}, handler="a")
    one, two = code.layer(source, None, cache, "gzip"), code.layer(source, None, cache, "zstd")
    assert (one.diff_id, two.cached) == (two.diff_id, False)
    assert two.media_type == "application/vnd.oci.image.layer.v1.tar+zstd"
