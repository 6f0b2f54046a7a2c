"""Pulling and reading headers from a hub on loopback, with all that can go wrong between."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import WeakFileLock

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.engine import probe_model
from gemtop.engine.gguf import read_header
from gemtop.engine.gguf_scan import is_header_only
from gemtop.engine.hub import Hub, HubError, Pulled, remote_header
from gemtop.engine.hub_incoming import Arrival
from gemtop.engine.hub_names import parse_spec
from tests.gguf_bytes import ARRAY, STRING, U32, header, write_27b
from tests.hub_server import HubServer, serving

REPO = "google/gemma-3-27b-it-qat-q4_0-gguf"
NAME = "gemma-3-27b-it-q4_0.gguf"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of nobody: none of the user's own is ever sent."""
    monkeypatch.setenv("HF_TOKEN", "hf_ofNobody")


@pytest.fixture
def file(tmp_path: Path, hub: HubServer) -> Path:
    """A model of 300 kB on the hub."""
    path = tmp_path / "remote" / NAME
    path.parent.mkdir()
    probe_model.write(path)
    hub.add(REPO, NAME, path)
    hub.add(REPO, "README.md")
    return path


class Puller:
    """A hub, its cache, and what it told."""

    def __init__(self, hub: HubServer, cache: Path, *, tries: int = 1) -> None:
        self.hub = Hub(hub.endpoint, cache, pauses_s=(0.0,) * tries)
        self.folder = cache / ("models--" + REPO.replace("/", "--"))
        self.said: list[str] = []
        self.seen: list[Arrival] = []

    def pull(self, text: str = f"hf:{REPO}", revision: str | None = None) -> list[Pulled]:
        self.said, self.seen = [], []
        return self.hub.pull(parse_spec(text, revision), self.seen.append, self.said.append)

    def fails(self, kind: type[GemtopError], text: str = f"hf:{REPO}", revision: str | None = None) -> str:
        with pytest.raises(kind) as error:
            self.pull(text, revision)
        words = str(error.value)
        assert type(error.value).exit_code == kind.exit_code
        assert "\n" not in words
        assert "\x1b" not in words
        assert "hf_" not in words
        return words

    def left(self) -> list[str]:
        """What of the file has been kept."""
        return sorted(path.name for path in (self.folder / "blobs").glob("*"))


@pytest.fixture
def puller(hub: HubServer, tmp_path: Path) -> Puller:
    return Puller(hub, tmp_path / "cache")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ranges(hub: HubServer) -> list[str | None]:
    return [request.range for request in hub.asked("store")]


def test_a_pull_lies_where_huggingface_hub_looks(hub: HubServer, file: Path, puller: Puller) -> None:
    (pulled,) = puller.pull()
    assert pulled.path == puller.folder / "snapshots" / hub.commit / NAME
    assert (pulled.size_bytes, pulled.was_there) == (file.stat().st_size, False)
    assert pulled.path.read_bytes() == file.read_bytes()
    assert puller.left() == [sha256(file)]
    assert pulled.path.readlink() == Path("../../blobs") / sha256(file)
    assert puller.said == [f"fetching {NAME}, 0.3 MB"]
    done = [arrival.done_bytes for arrival in puller.seen]
    assert done == sorted(done)
    assert puller.seen[-1] == Arrival(NAME, "pulling", file.stat().st_size, file.stat().st_size)
    for revision in ("main", hub.commit):
        found = hf_hub_download(REPO, NAME, revision=revision, cache_dir=puller.hub.cache, local_files_only=True)
        assert Path(found) == pulled.path


def test_the_telemetry_of_huggingface_hub_is_off(hub: HubServer, file: Path, puller: Puller) -> None:
    puller.pull()
    resolve = f"/{REPO}/resolve/{hub.commit}/{NAME}"
    assert [(r.method, r.path) for r in hub.asked("hub")] == [
        ("GET", f"/api/models/{REPO}/revision/main"), ("HEAD", resolve), ("GET", resolve),
    ]  # fmt: skip


def test_what_is_there_is_not_fetched_again(hub: HubServer, file: Path, puller: Puller) -> None:
    (first,) = puller.pull()
    hub.requests.clear()
    (second,) = puller.pull()
    assert (second.path, second.was_there, second.size_bytes) == (first.path, True, file.stat().st_size)
    assert [request.method for request in hub.requests] == ["GET"]


def test_a_new_commit_with_the_same_file_is_a_link(hub: HubServer, file: Path, puller: Puller) -> None:
    puller.pull()
    hub.commit = "b" * 40
    hub.requests.clear()
    (second,) = puller.pull()
    assert second.was_there
    assert second.path.parent.name == hub.commit
    assert second.path.read_bytes() == file.read_bytes()
    assert (puller.folder / "refs" / "main").read_text() == hub.commit
    assert hub.asked("store") == []


def test_a_revision(hub: HubServer, file: Path, puller: Puller) -> None:
    puller.pull(revision="refs/pr/1")
    assert (puller.folder / "refs" / "refs" / "pr" / "1").read_text() == hub.commit
    (pulled,) = puller.pull(revision=hub.commit)
    assert pulled.was_there
    assert not (puller.folder / "refs" / hub.commit).exists()


def test_a_connection_that_breaks_is_taken_up(hub: HubServer, file: Path, puller: Puller) -> None:
    hub.faults.cut_after = [100_000, 50_000]
    (pulled,) = puller.pull()
    assert sha256(pulled.path) == sha256(file)
    last = file.stat().st_size - 1
    assert ranges(hub) == [f"bytes={first}-{last}" for first in (0, 100_000, 150_000)]
    assert sum(request.sent_bytes for request in hub.asked("store")) == file.stat().st_size


def test_a_file_larger_than_one_answer_may_be(hub: HubServer, file: Path, puller: Puller) -> None:
    puller.hub = Hub(hub.endpoint, puller.hub.cache, pauses_s=(), answer_bytes=200_000)
    (pulled,) = puller.pull()
    assert pulled.path.read_bytes() == file.read_bytes()
    assert ranges(hub) == ["bytes=0-199999", f"bytes=200000-{file.stat().st_size - 1}"]


@pytest.mark.parametrize("fault", ["hangs up", "answers 503", "answers 429"])
def test_a_download_that_stands_still_is_kept(hub: HubServer, file: Path, puller: Puller, fault: str) -> None:
    if fault == "hangs up":
        hub.faults.cut_after = [100_000, 0, 0]
    else:
        hub.faults.store_status = [int(fault[-3:])] * 2
        blobs = puller.folder / "blobs"
        blobs.mkdir(parents=True)
        (blobs / f"{sha256(file)}.incomplete").write_bytes(file.read_bytes()[:100_000])
    words = puller.fails(HubError)
    assert f"{100_000 / file.stat().st_size:.0%} is kept and the same command goes on" in words
    if fault != "hangs up":
        assert f"127.0.0.1 {fault}" in words
    assert puller.left() == [sha256(file) + ".incomplete"]
    hub.requests.clear()
    (pulled,) = puller.pull()
    assert puller.said[0].endswith("% that are there")
    assert puller.seen[0].phase == "checking"
    assert ranges(hub) == [f"bytes=100000-{file.stat().st_size - 1}"]
    assert pulled.path.read_bytes() == file.read_bytes()


def test_a_server_that_cannot_go_on_starts_again(hub: HubServer, file: Path, puller: Puller) -> None:
    hub.faults.cut_after = [100_000]
    hub.faults.ignore_ranges = True
    (pulled,) = puller.pull()
    assert pulled.path.read_bytes() == file.read_bytes()
    assert puller.said[1:] == [f"{NAME}: the server cannot go on in the middle; starting from the beginning"]
    assert [request.sent_bytes for request in hub.asked("store")] == [100_000, file.stat().st_size]


def test_a_server_that_never_gets_further_is_left(hub: HubServer, file: Path, tmp_path: Path) -> None:
    puller = Puller(hub, tmp_path / "cache", tries=2)
    hub.faults.cut_after = [100_000] * 10
    hub.faults.ignore_ranges = True
    assert "the same command goes on" in puller.fails(HubError)
    assert len(hub.asked("store")) == 4


def test_a_wrong_file_is_not_kept(hub: HubServer, file: Path, puller: Puller) -> None:
    hub.faults.wrong_bytes = True
    assert "is not what the hub states (SHA-256 " in puller.fails(HubError)
    assert puller.left() == []
    assert not list(puller.folder.glob("snapshots/*/*"))
    hub.faults.wrong_bytes = False
    assert puller.pull()[0].path.read_bytes() == file.read_bytes()


def test_what_an_earlier_attempt_left_is_checked_too(hub: HubServer, file: Path, puller: Puller) -> None:
    partial = puller.folder / "blobs" / f"{sha256(file)}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(1000))
    puller.fails(HubError)
    assert puller.left() == []
    partial.write_bytes(file.read_bytes() + b"more")  # longer than the file is: begun anew
    assert puller.pull()[0].path.read_bytes() == file.read_bytes()


def test_another_part_than_asked_for_is_refused(hub: HubServer, file: Path, puller: Puller) -> None:
    hub.faults.wrong_range = True
    assert "127.0.0.1 sent another part of the file" in puller.fails(HubError)


def test_a_split_model_comes_with_all_parts(hub: HubServer, tmp_path: Path, puller: Puller) -> None:
    names = [f"BF16/gemma-BF16-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for i, name in enumerate(names):
        path = tmp_path / f"part{i}"
        path.write_bytes(random.Random(i).randbytes(70_000 + i))
        hub.add(REPO, name, path)
    pulled = puller.pull(f"hf:{REPO}:bf16")
    assert [str(part.path).partition(hub.commit + "/")[2] for part in pulled] == names
    assert [part.path.read_bytes() for part in pulled] == [(tmp_path / f"part{i}").read_bytes() for i in range(3)]
    pulled[1].path.resolve().unlink()  # one of them is lost
    assert [part.was_there for part in puller.pull(f"hf:{REPO}:bf16")] == [True, False, True]


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_is_explained(hub: HubServer, file: Path, puller: Puller, status: int) -> None:
    hub.faults.gated = status
    words = puller.fails(BadInputError)
    assert words.startswith(f"{REPO} is gated; the token in use has no access: accept its licence at ")
    assert f"{hub.endpoint}/{REPO}, then set HF_TOKEN" in words
    assert not puller.folder.exists()


def test_the_token_goes_to_the_hub_alone(
    hub: HubServer, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults.gated = 401
    hub.faults.cut_after = [1000]
    monkeypatch.setenv("HF_TOKEN", hub.token)
    Puller(hub, tmp_path / "cache").pull()
    assert {request.headers.get("authorization") for request in hub.asked("hub")} == {f"Bearer {hub.token}"}
    assert len(hub.asked("store")) == 2
    assert not any("authorization" in request.headers for request in hub.asked("store"))


def test_what_a_server_says_is_made_harmless(hub: HubServer, file: Path, puller: Puller) -> None:
    hub.faults.hub_status = 403
    hub.faults.hub_message = "\x1b]0;owned\x07 Bearer hf_ofNobody is wrong " + "x" * 5000
    words = puller.fails(BadInputError)
    assert words.startswith(f"127.0.0.1 refuses {REPO} (")
    assert words.endswith("check HF_TOKEN")
    assert "(token) is wrong" in words
    assert len(words) < 400


@pytest.mark.parametrize("bad", ["hf_\x00zero", "hf_ümlaut", "hf_a b\tc"])
def test_a_token_that_cannot_be_sent_is_not_shown(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    if "\x00" in bad:
        monkeypatch.setattr("gemtop.engine.hub.get_token", lambda: bad)  # no environment can hold it, a file can
    else:
        monkeypatch.setenv("HF_TOKEN", bad)
    with pytest.raises(BadInputError) as error:
        Hub(hub.endpoint, tmp_path)
    assert "holds characters that no token has" in str(error.value)
    assert bad[3:] not in str(error.value)


@pytest.mark.parametrize(
    ("text", "revision", "words"),
    [
        ("hf:nobody/nothing", None, "has no model nobody/nothing, or it is private: check the name, and HF_TOKEN"),
        (f"hf:{REPO}", "v9", f"{REPO} has no revision v9"),
        (f"hf:{REPO}:Q8_0", None, f"{REPO} has no Q8_0; it has q4_0"),
        (f"hf:{REPO}:gone.gguf", None, f"{REPO} has no file gone.gguf"),
    ],
)
def test_what_is_not_there(
    hub: HubServer, file: Path, puller: Puller, text: str, revision: str | None, words: str
) -> None:
    hub.add(REPO, "gone.gguf")  # listed, and then not served
    assert words in puller.fails(BadInputError, text, revision)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"hub_status": 500}, "answers 500 for"),
        ({"hub_status": 418}, "answers 418 for"),
        ({"hub_body": b"<html>A portal</html>"}, "does not answer as a Hugging Face hub does; check HF_ENDPOINT"),
        ({"hub_body": b"[1, 2]"}, "does not answer as a Hugging Face hub does"),
        ({"hub_body": b'{"id": "x", "sha": "../../../etc", "siblings": []}'}, "does not answer as a Hugging Face hub"),
        ({"hub_body": b'{"id": "x", "sha": "%b", "siblings": [{"a": 1}]}' % (b"a" * 40)}, "does not answer as a"),
        ({"etag": '"../../x"'}, "states no size and SHA-256"),
        ({"etag": f'W/"{"a" * 40}"'}, "states no size and SHA-256"),
        ({"redirect_to": "ftp://example.org/x"}, "cannot be reached"),
    ],
)  # fmt: skip
def test_servers_that_fail(hub: HubServer, file: Path, puller: Puller, fault: dict[str, object], words: str) -> None:
    for name, value in fault.items():
        setattr(hub.faults, name, value)
    assert words in puller.fails(HubError)
    assert not list(puller.folder.glob("snapshots/*/*"))


def test_redirects_end(hub: HubServer, file: Path, puller: Puller) -> None:
    hub.faults.redirect_to = "http://localhost:" + hub.endpoint.rpartition(":")[2] + f"/{REPO}/resolve/main/{NAME}"
    assert "from one address to the next without end" in puller.fails(HubError)


def test_https_is_not_left(tmp_path: Path) -> None:
    hub = Hub("https://user:secret@hub.example/mirror/", tmp_path)
    assert hub.next_address("https://a.example/x/y", "/z?s=1") == "https://a.example/z?s=1"
    assert hub.next_address("https://a.example/x", "https://b.example/z") == "https://b.example/z"
    with pytest.raises(HubError, match=r"https://hub\.example/mirror leads to an address without https"):
        hub.next_address("https://a.example/x", "http://a.example/x")


def test_nobody_listens(hub: HubServer, tmp_path: Path) -> None:
    unused = Puller(hub, tmp_path / "cache")
    unused.hub = Hub("http://127.0.0.1:9", tmp_path / "cache")
    assert f"http://127.0.0.1:9 cannot be reached for {REPO}: " in unused.fails(HubError)


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://x", "http://"])
def test_endpoints_that_are_none(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(BadInputError, match="it must begin with https:// or http://"):
        Hub(endpoint, tmp_path)


def test_names_that_lead_elsewhere_are_not_there(hub: HubServer, file: Path, puller: Puller) -> None:
    for name in ("../../../../evil.gguf", "/tmp/evil.gguf", "x\x1b]0;owned\x07.gguf"):
        hub.add(REPO, name, file)
    words = puller.fails(BadInputError, f"hf:{REPO}:evil.gguf")
    assert words.endswith(f"has no evil.gguf; it has {NAME}")


def test_room_is_looked_for_first(hub: HubServer, file: Path, puller: Puller) -> None:
    hub.faults.size = 10**18
    assert "1,000,000,000.00 GB are still to come and " in puller.fails(BadInputError)
    assert not puller.folder.exists()


def test_a_cache_that_cannot_be_written(hub: HubServer, file: Path, puller: Puller) -> None:
    puller.folder.parent.mkdir()
    puller.folder.write_text("in the way")
    assert f"{puller.folder} cannot be written: " in puller.fails(HubError)


def test_one_program_at_a_time(hub: HubServer, file: Path, puller: Puller) -> None:
    locks = puller.folder.parent / ".locks" / puller.folder.name
    locks.mkdir(parents=True)
    with WeakFileLock(locks / f"{sha256(file)}.lock"):
        assert f"another program is fetching {NAME}" in puller.fails(HubError)
    assert puller.pull()[0].path.exists()


# Headers from afar


@pytest.fixture
def where(folders: Paths, tmp_path: Path) -> Paths:
    return Paths(history=folders.history, state=folders.state, cache=tmp_path / "gemtop-cache")


@pytest.fixture
def big(tmp_path: Path, hub: HubServer) -> Path:
    """A 27B, 17.2 GB, on the hub."""
    path = tmp_path / NAME
    write_27b(path)
    hub.add(REPO, NAME, path, sha256="ab" * 32)
    return path


def read_remote(hub: HubServer, where: Paths, text: str = f"hf:{REPO}") -> Path:
    return remote_header(parse_spec(text), where, Hub(hub.endpoint, where.cache / "hf"))


def test_a_27b_is_read_without_its_weights(hub: HubServer, big: Path, where: Paths) -> None:
    path = read_remote(hub, where)
    found, original = read_header(path), read_header(big)
    assert round(found.size_bytes / 1e9, 1) == 17.2
    assert found.size_bytes == original.size_bytes
    assert (found.metadata, found.tensors) == (original.metadata, original.tensors)
    assert path.stat().st_blocks * 512 < 9e6
    assert is_header_only(path, where)
    assert path.parent == where.cache / "headers" / f"models--{REPO.replace('/', '--')}" / hub.commit
    assert ranges(hub) == ["bytes=0-8388607"]
    assert not (where.cache / "hf").exists()

    hub.requests.clear()
    assert read_remote(hub, where) == path
    assert [request.path for request in hub.requests] == [f"/api/models/{REPO}/revision/main"]


def test_a_server_that_ignores_ranges_is_left_early(hub: HubServer, big: Path, where: Paths) -> None:
    hub.faults.ignore_ranges = True
    assert read_header(read_remote(hub, where)).tensors == read_header(big).tensors
    hub.stop()  # its thread has ended: it has sent what it will send
    assert [request.sent_bytes < 64e6 for request in hub.asked("store")] == [True]


def test_a_header_longer_than_one_range(hub: HubServer, tmp_path: Path, where: Paths) -> None:
    path = tmp_path / "long.gguf"
    words = [f"{i:0>100}" for i in range(90_000)]
    path.write_bytes(header([("general.architecture", STRING, "gemma3"), ("a.words", ARRAY, (STRING, words))]))
    hub.add(REPO, NAME, path)
    found = read_remote(hub, where)
    assert found.read_bytes() == path.read_bytes()
    assert ranges(hub) == ["bytes=0-8388607", "bytes=8388608-16777215"]


def test_the_headers_of_all_parts_lie_beside_each_other(hub: HubServer, tmp_path: Path, where: Paths) -> None:
    names = [f"Q8_0/gemma-Q8_0-0000{i}-of-00002.gguf" for i in (1, 2)]
    for i, name in enumerate(names):
        path = tmp_path / f"part{i}"
        path.write_bytes(header([("split.no", U32, i)], [(f"blk.{i}.weight", (32, 64), 0)]) + bytes(8192))
        hub.add(REPO, name, path)
    first = read_remote(hub, where)
    assert str(first).endswith(names[0])
    for i, name in enumerate(names):
        part = first.with_name(Path(name).name)
        assert read_header(part).metadata == {"split.no": i}
        assert part.stat().st_size == (tmp_path / f"part{i}").stat().st_size


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GGUF" + b"\xff" * 5000, "has a damaged GGUF header"),
        (b"\x1b[31mnot a model" * 100, "is not a GGUF file"),
        (b"GGUF", "ends too early|longer than the file"),
    ],
)
def test_hostile_files(hub: HubServer, tmp_path: Path, where: Paths, data: bytes, words: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    hub.add(REPO, NAME, path)
    with pytest.raises(BadInputError, match=words) as error:
        read_remote(hub, where)
    assert str(error.value).startswith(f"{REPO}/{NAME} ")
    assert not (where.cache / "headers").exists()


def test_a_size_that_no_disk_has(hub: HubServer, file: Path, where: Paths) -> None:
    hub.faults.size = 2**63 - 1
    with pytest.raises(HubError, match="cannot be written"):
        read_remote(hub, where)
    assert not [path for path in where.cache.rglob("*") if path.is_file()]


def test_a_connection_cut_while_the_header_is_read(hub: HubServer, big: Path, where: Paths) -> None:
    hub.faults.cut_after = [1_000_000]
    with pytest.raises(HubError, match=f"cannot be reached for {REPO}/{NAME}"):
        read_remote(hub, where)
    assert not [path for path in where.cache.rglob("*") if path.is_file()]
    assert read_remote(hub, where).stat().st_size == big.stat().st_size
