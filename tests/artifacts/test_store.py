"""The contract of the artifact store, over all places that keep its files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from trimtab.artifacts import Artifact, ArtifactStore, FileSpec, Producer, StoreURI, open_store
from trimtab.errors import NotFound, SpecError, StoreError


def put(store: ArtifactStore, content: bytes = b"one", key: str = "key", tag: str = "", project: str = "p") -> Artifact:
    return store.put("artifacts", project, key, {"data.bin": content}, FileSpec(file="data.bin"), tag=tag)


def test_what_was_put_is_found_by_tag_and_by_version(store: ArtifactStore) -> None:
    producer = Producer(uid="r1", name="train", inputs={"data": "x.csv"})
    logged = store.put(
        "artifacts", "p", "key", {"data.bin": b"one"}, FileSpec(file="data.bin"), labels={"a": "b"}, producer=producer
    )
    assert logged.uri == "store://artifacts/p/key#0:latest"
    assert logged.version_uri == f"store://artifacts/p/key#0:latest@{logged.version}"
    for uri in ("store://artifacts/p/key", logged.uri, logged.version_uri, f"store://artifacts/p/key@{logged.tree}"):
        found = store.get(uri)
        assert (found.read(), found.metadata, found.spec) == (b"one", logged.metadata, logged.spec)
    assert (found.kind, found.project, found.key, found.iter, found.size) == ("artifacts", "p", "key", 0, 3)
    assert found.metadata.producer == producer
    assert found.metadata.labels == {"a": "b"}
    assert found.uri == f"store://artifacts/p/key#0@{logged.version}"


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, of how gcsfs uses it
def test_files_are_given_on_this_machine_under_their_own_names(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "quelle"
    source.write_bytes(b"x" * 3_000_000)
    logged = store.put("artifacts", "p", "key", {"größe 1.bin": source, "sub/b": b"b"}, FileSpec(file="größe 1.bin"))
    found = store.get(logged.uri)
    assert found.local().name == "größe 1.bin"
    assert found.local().read_bytes() == source.read_bytes()
    assert found.local("sub/b").read_bytes() == b"b"
    assert (found.folder() / "sub" / "b").read_bytes() == (found.folder() / "sub/b").read_bytes() == b"b"
    assert (found.folder() / "größe 1.bin").is_file()
    with pytest.raises(NotFound, match=r"has no file 'c'; it has größe 1\.bin, sub/b$"):
        found.local("c")


def test_a_version_never_changes_and_latest_moves(store: ArtifactStore) -> None:
    first, second = put(store), put(store, b"two")
    assert store.get("store://artifacts/p/key").version == second.version
    assert store.get(first.version_uri).read() == b"one"
    assert store.versions(first.uri) == sorted([first.version, second.version])


def test_tags_point_to_versions_and_can_be_moved_and_removed(store: ArtifactStore) -> None:
    first = put(store, tag="v1")
    second = put(store, b"two")
    assert first.uri == "store://artifacts/p/key#0:v1"
    assert store.get("store://artifacts/p/key:v1").version == first.version
    champion = store.tag(first, "champion")
    assert champion.uri == "store://artifacts/p/key#0:champion"
    store.tag(second, "champion")
    assert store.get(champion.uri).read() == b"two"
    assert store.tags(first.uri) == {second.version: ["latest", "champion"], first.version: ["v1"]}
    store.untag(champion.uri)
    store.untag(champion.uri)
    assert store.tags(first.uri) == {second.version: ["latest"], first.version: ["v1"]}


def test_iterations_have_tags_of_their_own(store: ArtifactStore) -> None:
    put(store)
    store.put("artifacts", "p", "key", {"data.bin": b"three"}, FileSpec(file="data.bin"), iter=3)
    assert store.get("store://artifacts/p/key#0:latest").read() == b"one"
    assert store.get("store://artifacts/p/key#3:latest").read() == b"three"
    with pytest.raises(NotFound, match=r"'key' has no tag 'latest' in iteration 4"):
        store.get("store://artifacts/p/key#4:latest")


def test_versions_are_listed_newest_first_with_their_tags(store: ArtifactStore) -> None:
    first, second, other = put(store), put(store, tag="v2"), put(store, key="b")
    assert [(each.key, each.version, each.tag) for each in store.list("artifacts", "p")] == [
        ("b", other.version, "latest"),
        ("key", second.version, "latest"),
        ("key", first.version, ""),
    ]
    assert [each.uri for each in store.list("artifacts", "p", "key", tag="v2")] == ["store://artifacts/p/key#0:v2"]
    assert list(store.list("models", "p")) == []
    assert store.keys("artifacts", "p") == ["b", "key"]


def test_projects_are_those_that_were_made_and_those_that_something_was_logged_to(store: ArtifactStore) -> None:
    assert store.projects() == []
    store.add_project("made")
    put(store, project="logged")
    assert store.projects() == ["logged", "made"]


def test_a_uri_that_leads_nowhere_says_what_there_is(store: ArtifactStore) -> None:
    logged = put(store, tag="v1")
    put(store, key="other")
    tree = logged.version
    for uri, said in {
        "store://artifacts/q/key": f"there is no project 'q' in {store.url}; its projects: p",
        "store://artifacts/p/ky": "project 'p' has no artifact 'ky'; its artifacts: key, other",
        "store://models/p/key": "project 'p' has no model 'key'; its models: (none)",
        "store://artifacts/p/key:v2": f"'key' has no tag 'v2'; its tags: latest, v1; its versions: {tree}",
        "store://artifacts/p/key@2020": f"'key' has no version '2020'; its versions: {tree}",
        "store://artifacts/p/ky@2020": "project 'p' has no artifact 'ky'; its artifacts: key, other",
    }.items():
        with pytest.raises(NotFound) as caught:
            store.get(uri)
        assert str(caught.value) == f"{StoreURI.parse(uri)}: {said}"


def test_long_lists_are_cut(store: ArtifactStore) -> None:
    for number in range(12):
        put(store, key=f"k{number:02}")
    with pytest.raises(NotFound, match=r"its artifacts: k00, .*, k09 and 2 more$"):
        store.get("store://artifacts/p/x")


def test_names_that_cannot_be_are_refused_before_anything_is_written(store: ArtifactStore) -> None:
    for key, project, tag in (("../x", "p", ""), ("", "p", ""), ("key", "a/b", ""), ("key", "p", "x y")):
        with pytest.raises(SpecError, match=r"allowed: letters, digits, '_', '\.' and '-'"):
            put(store, key=key, project=project, tag=tag)
    for name in ("../x", "/x", "a//b", "a\nb"):
        with pytest.raises(SpecError, match=r"^file: found .*, allowed: a relative path of printable characters"):
            store.put("artifacts", "p", "key", {name: b""}, FileSpec())
    with pytest.raises(SpecError, match=r"^files: found \{\}, allowed: at least one file$"):
        store.put("artifacts", "p", "key", {}, FileSpec())
    assert store.projects() == []


def test_writers_of_one_key_at_once_all_keep_their_version(store: ArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        logged = list(pool.map(lambda number: put(store, b"%d" % number), range(16)))
    assert len(set(store.versions("store://artifacts/p/key"))) == 16
    assert [store.get(each.version_uri).read() for each in logged] == [b"%d" % number for number in range(16)]
    assert store.get("store://artifacts/p/key").version in {each.version for each in logged}


def test_a_document_that_is_damaged_or_newer_is_told_from_one_that_is_not_there(store: ArtifactStore) -> None:
    logged = put(store)
    name = f"artifacts/p/key/versions/{logged.version}.json"
    whole = store.files.read(name)
    for text in (whole[:-5], msgspec.json.encode({**msgspec.json.decode(whole), "format": 2}), b"\xff"):
        store.files.write(name, text)
        with pytest.raises(
            StoreError, match=r"\.json is damaged, or was written by a newer Trimtab \(.*\); log the art"
        ):
            store.get(logged.uri)
    store.files.write(name, msgspec.json.encode({**msgspec.json.decode(whole), "added": "later"}))
    assert store.get(logged.uri).read() == b"one"


def test_a_document_cannot_lead_out_of_the_store(store: ArtifactStore) -> None:
    logged = put(store)
    name = f"artifacts/p/key/versions/{logged.version}.json"
    document = msgspec.json.decode(store.files.read(name))
    document["files"]["../../../../../x"] = document["files"].pop("data.bin")
    store.files.write(name, msgspec.json.encode(document))
    with pytest.raises(SpecError, match=r"^file: found '\.\./\.\./.*', allowed: a relative path"):
        store.get(logged.uri)


def test_a_document_that_was_moved_is_not_taken_for_another(store: ArtifactStore) -> None:
    logged = put(store)
    whole = store.files.read(f"artifacts/p/key/versions/{logged.version}.json")
    store.files.write("artifacts/p/other/versions/1.json", whole)
    with pytest.raises(
        StoreError, match=rf"versions/1\.json is damaged: it describes artifacts/p/key/{logged.version}$"
    ):
        store.get("store://artifacts/p/other@1")


def test_files_that_others_leave_in_the_folders_are_passed_over(store: ArtifactStore) -> None:
    logged = put(store)
    for name in ("artifacts/.DS_Store", "artifacts/p/.x", "artifacts/p/key/versions/notes.txt", "projects/read me.md"):
        store.files.write(name, b"")
    for name in ("artifacts/p/key/tags/x/y.json", "artifacts/p/key/tags/0/.y.json", "artifacts/p/key/tags/0/y"):
        store.files.write(name, b"")
    assert store.projects() == ["p"]
    assert store.keys("artifacts", "p") == ["key"]
    assert [each.version for each in store.list("artifacts", "p")] == [logged.version]


def test_a_writer_that_did_not_come_to_the_document_leaves_no_key(store: ArtifactStore) -> None:
    store.files.write("files/models/p/key/20260101T000000000000-00000000/a", b"")
    assert store.projects() == []
    with pytest.raises(NotFound, match="there is no project 'p'"):
        store.get("store://models/p/key")


def test_a_file_that_changed_is_not_used(store: ArtifactStore) -> None:
    logged = put(store)
    store.files.write(f"files/artifacts/p/key/{logged.version}/data.bin", b"evil")
    for use in (logged.read, logged.local, logged.folder):
        with pytest.raises(
            StoreError, match=r"its file 'data\.bin' is not what was logged: sha256 \w{16}\.\.\. \(4 bytes\)"
        ):
            use()


def test_a_file_that_is_missing_is_named(store: ArtifactStore) -> None:
    logged = put(store)
    store.files.delete(f"files/artifacts/p/key/{logged.version}")
    with pytest.raises(StoreError, match=r"its file 'data\.bin' (is missing|cannot be read)"):
        logged.read()


def test_another_store_of_the_same_url_sees_the_same(store: ArtifactStore) -> None:
    logged = put(store)
    other = open_store(store.url)
    assert repr(other) == f"ArtifactStore({store.url!r})"
    assert repr(other.get(logged.uri)) == f"Artifact({logged.version_uri!r})"


def test_copies_of_remote_files_are_made_once_and_replaced_when_they_are_damaged(store: ArtifactStore) -> None:
    logged = put(store)
    copy = logged.local()
    if copy.is_relative_to(store.url.removeprefix("file://")):
        return  # the file itself
    before = copy.stat().st_ino
    assert logged.local().stat().st_ino == before
    copy.chmod(0o644)
    copy.write_bytes(b"bad")
    assert logged.read() == b"one"
    assert [path.name for path in copy.parent.iterdir()] == ["data.bin"]
    assert not os.access(copy, os.W_OK) or os.getuid() == 0
