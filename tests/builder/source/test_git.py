from __future__ import annotations

import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from trimtab.builder.abc import Code
from trimtab.builder.source import read_source
from trimtab.builder.source.git import Reference, fetch, looks_like, parse
from trimtab.errors import BuildError, SpecError
from trimtab.spec import Build, Source


class Repository:
    """A repository of a test, with one commit and a branch and a tag."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit({"fn/main.py": "X = 1\n", "fn/data.bin": "d", ".gitignore": "*.bin\n", "one.py": "Y = 1\n"}, "one")
        self.git("tag", "-a", "v1", "-m", "first")
        self.git("checkout", "--quiet", "-b", "feature/x")
        self.commit({"fn/main.py": "X = 2\n"}, "two")
        self.git("checkout", "--quiet", "main")

    def git(self, *arguments: str) -> str:
        environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.path, env=environ, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, str], message: str) -> str:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        self.git("add", "--force", ".")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"git+file://{self.path}"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    return Repository(tmp_path / "repo")


def read(text: str, handler: str = "") -> Code:
    return read_source(Source(git=text), Build(), handler)


def content(code: Code, name: str) -> str:
    found = code.files[name]
    return found.decode() if isinstance(found, bytes) else found.read_text()


def test_a_folder_of_a_branch_a_tag_and_a_commit_are_read(repository: Repository) -> None:
    commit = repository.git("rev-parse", "feature/x")
    assert content(read(f"{repository.url}#fn"), "main.py") == "X = 1\n"
    assert content(read(f"{repository.url}@feature/x#fn"), "main.py") == "X = 2\n"
    assert content(read(f"{repository.url}@v1#subdirectory=fn"), "main.py") == "X = 1\n"
    code = read(f"{repository.url}@{commit}#fn/")
    assert content(code, "main.py") == "X = 2\n"
    assert (code.revision, code.created, code.handler) == (commit, 1767323045, "main")
    assert code.origin == f"file://{repository.path}"
    assert content(read(f"file://{repository.path}#feature/x:fn"), "main.py") == "X = 2\n"


def test_what_git_has_is_taken_though_it_is_ignored(repository: Repository) -> None:
    assert sorted(read(f"{repository.url}#fn").files) == ["data.bin", "main.py"]
    repository.commit({"fn/.trimtabignore": "*.bin\n"}, "leave out")
    assert sorted(read(f"{repository.url}#fn").files) == [".trimtabignore", "main.py"]


def test_one_file_of_a_repository_is_read(repository: Repository) -> None:
    assert list(read(f"{repository.url}#one.py").files) == ["one.py"]


def test_a_branch_is_asked_for_again_and_a_commit_is_not(repository: Repository) -> None:
    commit = repository.git("rev-parse", "main")
    assert content(read(f"{repository.url}@{commit}#one.py"), "one.py") == "Y = 1\n"
    repository.commit({"one.py": "Y = 2\n"}, "later")
    assert content(read(f"{repository.url}#one.py"), "one.py") == "Y = 2\n"
    repository.path.rename(repository.path.with_name("moved"))
    assert content(read(f"{repository.url}@{commit}#one.py"), "one.py") == "Y = 1\n"


def test_only_one_commit_is_fetched_and_no_history_is_kept(repository: Repository, tmp_path: Path) -> None:
    checkout = fetch(parse(repository.url), tmp_path / "cache")
    assert not (checkout.path / ".git").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [checkout.path.parent.name]


def test_many_fetch_the_same_at_once(repository: Repository, tmp_path: Path) -> None:
    wanted = parse(repository.url)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fetch(wanted, tmp_path / "cache"), range(4)))
    assert len({checkout.path for checkout in found}) == 1
    assert (found[0].path / "one.py").read_text() == "Y = 1\n"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_half_a_checkout_does_not_count(repository: Repository, tmp_path: Path) -> None:
    wanted = parse(f"{repository.url}@{repository.git('rev-parse', 'main')}")
    checkout = fetch(wanted, tmp_path / "cache")
    (checkout.path.parent / "time").unlink()  # what a removal does first
    (checkout.path / "one.py").unlink()
    assert (fetch(wanted, tmp_path / "cache").path / "one.py").read_text() == "Y = 1\n"


def test_checkouts_that_nobody_asked_for_in_a_while_are_forgotten(repository: Repository, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = fetch(parse(repository.url), cache)
    os.utime(first.path.parent, (1, 1))
    for number in range(10):
        repository.commit({"one.py": f"Y = {number}{number}\n"}, "more")
        fetch(parse(repository.url), cache)
    assert not first.path.exists()
    assert len(list(cache.iterdir())) == 10


def test_an_unknown_ref_is_answered_with_those_there_are(repository: Repository) -> None:
    with pytest.raises(SpecError) as caught:
        read(f"{repository.url}@feature/y#fn")
    assert str(caught.value).startswith(
        f"spec.source.git: found 'feature/y', allowed: a branch, tag or commit of file://{repository.path}; it has feature/x"
    )
    with pytest.raises(SpecError, match="Give a commit by all of its 40 characters"):
        read(f"{repository.url}@{repository.git('rev-parse', '--short=8', 'main')}")
    with pytest.raises(SpecError, match=r"found '0{40}', allowed: a branch"):
        read(f"{repository.url}@{'0' * 40}")


def test_a_folder_that_is_not_there_is_answered_with_those_there_are(repository: Repository) -> None:
    with pytest.raises(SpecError, match=r"found 'fm', allowed: a folder or file of the repository; at its root: \.git"):
        read(f"{repository.url}#fm")


def test_a_repository_that_is_not_there_says_so(tmp_path: Path, repository: Repository) -> None:
    with pytest.raises(BuildError, match=r"^git fetch failed: .*does not appear to be a git repository|not exist"):
        read(f"git+file://{tmp_path}/nothing")


def test_links_out_of_a_repository_are_refused(repository: Repository) -> None:
    (repository.path / "fn" / "leak").symlink_to("/etc/passwd")
    repository.commit({}, "leak")
    with pytest.raises(SpecError, match="leak, a link to /etc/passwd, outside the folder"):
        read(f"{repository.url}#fn")


@pytest.mark.parametrize(
    "text",
    [
        "git+--upload-pack=touch /tmp/x",
        "git+file:///x@--upload-pack=y",
        "git+file:///x@-b",
        "git+file:///x@a..b",
        "git+file:///x@a b",
        "git+ext::sh -c touch% /tmp/x",
        "git+git://host/x",
        "git+fd::3",
        "--upload-pack=x#y",
        "https://h/x#main:../../etc",
        "https://h/x#main:/etc",
        "https://h/x#-x:f",
        "git+https://h/x@main\n#f",
        "git+https:///x",
    ],
)
def test_references_that_would_be_options_commands_or_other_places_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"^spec\.source\.git: found "):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "git+https://me:geheim@h/x.git@main",
        "https://geheim@h/x.git#main",
        "git+https://geheim@h/x.git",
        "git+https://me:geheim@h/x.git",
    ],
)
def test_credentials_in_a_reference_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert "geheim" not in str(caught.value)
    assert "leave them to git" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("git+https://h/a/b.git", Reference("https://h/a/b.git")),
        ("git+https://h/a/b.git@v1.2#x/y", Reference("https://h/a/b.git", "v1.2", "x/y")),
        ("git+ssh://git@h:22/a/b.git@main", Reference("ssh://git@h:22/a/b.git", "main")),
        ("git+ssh://git@h/a/b.git", Reference("ssh://git@h/a/b.git")),
        ("git+git@h:a/b.git@main#f", Reference("git@h:a/b.git", "main", "f")),
        ("git+git@h:a/b.git", Reference("git@h:a/b.git")),
        ("git@h:a/b.git#main:f", Reference("git@h:a/b.git", "main", "f")),
        ("https://h/a/b.git#main:f/./g/", Reference("https://h/a/b.git", "main", "f/g")),
    ],
)
def test_both_forms_are_read(text: str, reference: Reference) -> None:
    assert parse(text) == reference
    assert looks_like(text)


class Smart(BaseHTTPRequestHandler):
    """Git's own server over HTTP (`git http-backend`, a CGI program), which lets in ada alone."""

    root: Path

    def do(self) -> None:
        if self.headers.get("Authorization") != f"Basic {b64encode(b'ada:s3cret').decode()}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environ = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_USER": "ada",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def smart(repository: Repository, tmp_path: Path) -> Iterator[str]:
    """The repository, over HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Smart,), {"root": tmp_path}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/repo"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("repository")
def test_a_server_that_wants_a_password_is_not_waited_for(smart: str) -> None:
    with pytest.raises(BuildError, match=r"^git fetch failed: .*Set up a credential helper, ~/\.netrc or an SSH key"):
        read(f"git+{smart}@main")


def test_a_branch_is_fetched_over_http_with_the_login_of_netrc(
    smart: str, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password s3cret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    code = read(f"git+{smart}@feature/x#fn")
    assert content(code, "main.py") == "X = 2\n"
    assert (code.origin, code.revision) == (smart, repository.git("rev-parse", "feature/x"))
    assert content(read(f"git+{smart}@{code.revision}#fn"), "main.py") == "X = 2\n"
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"s3cret" in path.read_bytes() for path in kept)
    with pytest.raises(SpecError, match=r"found 'feature/y', allowed: a branch, tag or commit of .*; it has feature/x"):
        read(f"git+{smart}@feature/y")
