"""Base images: which Python is in them, and what is said of those that will not do."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.builder.image import debian
from tests.builder.image.conftest import PYTHON, Make
from tests.builder.image.servers import Registry

from trimtab.builder.build import imaged
from trimtab.errors import BuildError, SpecError
from trimtab.spec import Build, Function, FunctionSpec, Metadata, Source

NEWER = "3.14"


def image(folder: Path, *names: str, config: dict[str, object] | None = None, machine: str = "amd64") -> str:
    """Write a base image whose only layer holds these names; `a -> b` is a link."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = folder / "layer.tar"
    with tarfile.open(plain, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name.partition(" -> ")[0])
            if " -> " in name:
                info.type, info.linkname = tarfile.SYMTYPE, name.partition(" -> ")[2]
            tar.addfile(info)
    debian.write(folder, [plain], machine, config or {})
    return f"oci:{folder}"


def refusal(make: Make, base: str, **options: Any) -> str:
    with pytest.raises(BuildError) as caught:
        make("hello:1", base=base, layout=Path("/nonexistent/layout"), platforms=["linux/amd64"], **options)
    return str(caught.value)


def interpreter(layout: Path, digest: str) -> str:
    """Find what /opt/trimtab/bin/python leads to."""
    manifest = json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())
    with tarfile.open(layout / "blobs" / manifest["layers"][1]["digest"].replace(":", "/")) as tar:
        return tar.getmember("opt/trimtab/bin/python").linkname


@pytest.mark.parametrize(
    ("names", "path", "expected"),
    [
        ([f"usr/bin/python{PYTHON}"], None, f"/usr/bin/python{PYTHON}"),
        ([f"./usr/local/bin/python{PYTHON}", "./usr/bin/python3.10"], None, f"/usr/local/bin/python{PYTHON}"),
        ([f"opt/conda/bin/python{PYTHON} -> python"], "/opt/conda/bin:/usr/bin", f"/opt/conda/bin/python{PYTHON}"),
        ([f"srv/venv/bin/python{PYTHON}"], None, f"/srv/venv/bin/python{PYTHON}"),
    ],
)
def test_the_python_is_found_in_the_layers(
    names: list[str], path: str | None, expected: str, make: Make, tmp_path: Path
) -> None:
    config: dict[str, object] = {"Env": [f"PATH={path}"]} if path else {}
    base = image(tmp_path / "base", *names, config=config)
    built = make("hello:1", base=base, layout=tmp_path / "layout", platforms=["linux/amd64"])
    assert built.python == PYTHON
    assert interpreter(tmp_path / "layout", built.digest) == expected


def test_official_images_are_believed_without_fetching_their_layers(make: Make, tmp_path: Path) -> None:
    base = image(tmp_path / "base", "etc/hostname", config={"Env": [f"PYTHON_VERSION={PYTHON}.9"]})
    built = make("hello:1", base=base, layout=tmp_path / "layout", platforms=["linux/amd64"])
    assert interpreter(tmp_path / "layout", built.digest) == f"/usr/local/bin/python{PYTHON}"


def test_a_base_without_python(make: Make, tmp_path: Path) -> None:
    base = image(tmp_path / "base", "usr/bin/node")
    assert refusal(make, base) == (
        f"the base image {base} has no Python: CPython 3.11 or newer is needed, as bin/python3.x in a layer"
    )


def test_a_base_with_an_old_python(make: Make, tmp_path: Path) -> None:
    base = image(tmp_path / "base", "usr/bin/python3.9")
    assert refusal(make, base) == (
        f"the base image {base} has Python 3.9 (/usr/bin/python3.9), needed is CPython 3.11 or newer: take another base"
        " image"
    )


def test_a_base_with_another_python_than_asked_for(make: Make, tmp_path: Path) -> None:
    base = image(tmp_path / "base", f"usr/bin/python{PYTHON}")
    assert refusal(make, base, python=NEWER) == (
        f"the base image {base} has Python {PYTHON} (/usr/bin/python{PYTHON}), needed is CPython {NEWER}: take another base"
        f" image, or build for {PYTHON}"
    )


def test_a_script_that_needs_another_python_says_so(make: Make, tmp_path: Path) -> None:
    base = image(tmp_path / "base", f"usr/bin/python{PYTHON}")
    code = f'# /// script\n# requires-python = ">={NEWER}"\n# ///\ndef handler(event):\n    return 1\n'
    with pytest.raises(SpecError) as caught:
        make("hello:1", base=base, code=code, layout=tmp_path / "layout", platforms=["linux/amd64"])
    assert f">={NEWER}" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "config"),
    [
        ([f"usr/bin/python{PYTHON}", "lib/ld-musl-x86_64.so.1"], {}),
        ([f"usr/bin/python{PYTHON}", "usr/lib/ld-musl-x86_64.so.1"], {}),
    ],
)
def test_a_base_of_alpine(names: list[str], config: dict[str, object], make: Make, tmp_path: Path) -> None:
    base = image(tmp_path / "base", *names, config=config)
    assert refusal(make, base) == (
        f"the base image {base} is Alpine (musl); wheels are chosen for glibc: take one made of Debian, such as"
        f" python:{PYTHON}-slim"
    )


def test_a_base_for_another_platform(make: Make, tmp_path: Path) -> None:
    base = image(tmp_path / "base", f"usr/bin/python{PYTHON}", machine="s390x")
    assert refusal(make, base) == f"the base image {base} is not for linux/amd64; it is for linux/s390x"


def test_an_index_without_the_platform(make: Make, tiny: str) -> None:
    with pytest.raises(BuildError) as caught:
        make("hello:1", platforms=["linux/ppc64le"], layout=Path("/nonexistent/layout"))
    assert str(caught.value) == f"the base image {tiny} is not for linux/ppc64le; it is for linux/amd64, linux/arm64"


def test_a_damaged_base(make: Make, cold: Path, tmp_path: Path) -> None:
    base = image(tmp_path / "base", f"usr/bin/python{PYTHON}")
    blobs = sorted((tmp_path / "base" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    layer = next(path for path in blobs if path.read_bytes().startswith(b"\x1f\x8b"))
    layer.write_bytes(layer.read_bytes() + b"more")
    found = refusal(make, base)
    assert found.startswith(f"the base image {base} is damaged: sha256:{layer.name} is asked for and sha256:")


def test_a_folder_that_is_no_layout(make: Make, tmp_path: Path) -> None:
    assert refusal(make, f"oci:{tmp_path}").startswith(f"{str(tmp_path)!r} is no OCI layout: ")


def test_a_name_that_is_no_image(make: Make) -> None:
    with pytest.raises(SpecError, match=r"^spec\.build\.baseImage: found 'Python', allowed: an image such as"):
        make("hello:1", base="Python", layout=Path("/nonexistent/layout"))


def test_targets_that_run_images_get_one_by_digest(
    server: Registry, home: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_REGISTRY", f"{server.host}/cluster")
    spec = FunctionSpec(handler="handler", source=Source(code="def handler(e): ..."), build=Build(base_image=tiny))
    function, built = imaged(Function(metadata=Metadata(name="hello"), spec=spec))
    assert built is not None
    assert function.spec.build.image == built.reference == f"{server.host}/cluster/hello@{built.digest}"
    assert server.tags("cluster/hello")[0] == "latest"
    assert imaged(function) == (function, None)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_image_of_ours_is_a_base(compression: str, make: Make, tmp_path: Path) -> None:
    """Whose layers are gzip files of several members; and whose own link to Python is not taken for one."""
    base = image(tmp_path / "base", f"usr/bin/python{PYTHON}")
    layout = tmp_path / "layout"
    options: dict[str, Any] = {"platforms": ["linux/amd64"], "compression": compression, "layout": layout}
    make("hello:1", base=base, **options)
    built = make("hello:2", base=f"oci:{layout}:1", **options)
    assert built.python == PYTHON
    manifest = json.loads((layout / "blobs" / built.digest.replace(":", "/")).read_bytes())
    assert len(manifest["layers"]) == 5
