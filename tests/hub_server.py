"""A Hugging Face hub on loopback: its API, its redirects to a store on another address, and the faults of both."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
_PIECE_BYTES = 16 * 1024
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>.+))?\Z")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)\Z")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")


@dataclass
class Request:
    """What was asked, and how much was answered."""

    server: str
    """"hub" or "store"."""
    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent_bytes: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class Faults:
    """Switches, to be set at any time."""

    ignore_ranges: bool = False
    cut_after: list[int] = field(default_factory=list)
    """The store's next answers are cut after so many bytes, one answer each."""
    hold_after: int | None = None
    """The store sends so many bytes and then nothing, until `released` is set."""
    released: threading.Event = field(default_factory=threading.Event)
    wrong_bytes: bool = False
    wrong_range: bool = False
    gated: int | None = None
    """401 or 403, for whoever does not send `token`."""
    hub_status: int | None = None
    store_status: list[int] = field(default_factory=list)
    """What the store answers next instead of the file, one answer each."""
    redirect_to: str | None = None
    """Where the hub sends who asks for a file, instead of to the store."""
    hub_body: bytes | None = None
    """What the hub's API answers instead of JSON."""
    hub_message: str = ""
    etag: str | None = None
    size: int | None = None


class HubServer:
    """The servers, what they hold and what they were asked."""

    token = "hf_" + "s3cret" * 6

    def __init__(self) -> None:
        self.faults = Faults()
        self.requests: list[Request] = []
        self.names: dict[str, list[str]] = {}
        self.commit = COMMIT
        self._paths: dict[tuple[str, str], Path] = {}
        self._digests: dict[Path, str] = {}
        self._hub, self._store = (_Server(self, handler) for handler in (_Hub, _Store))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def store(self) -> str:
        return f"http://127.0.0.1:{self._store.server_port}"

    def add(self, repo: str, name: str, path: Path | None = None, sha256: str | None = None) -> str:
        """Put a file into a repository; without a path it is only a name. Returns its SHA-256."""
        self.names.setdefault(repo, []).append(name)
        if path is None:
            return ""
        self._paths[repo, name] = path
        if sha256 is None:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self._digests[path] = sha256
        return sha256

    def find(self, repo: str, name: str) -> tuple[Path, str] | None:
        path = self._paths.get((repo, name))
        return (path, self._digests[path]) if path else None

    def by_digest(self, digest: str) -> Path | None:
        return next((path for path, known in self._digests.items() if known == digest), None)

    def asked(self, server: str, method: str | None = None) -> list[Request]:
        return [r for r in self.requests if r.server == server and method in (None, r.method)]

    def start(self) -> None:
        for server in (self._hub, self._store):
            server.thread.start()

    def stop(self) -> None:
        self.faults.released.set()
        for server in (self._hub, self._store):
            server.shutdown()
            server.server_close()  # waits for the threads of its requests


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, hub: HubServer, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what tests do."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    side = ""

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._log()
        self.answer()

    def do_GET(self) -> None:
        self._log()
        self.answer()

    def answer(self) -> None:
        raise NotImplementedError

    def _log(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.request_log = Request(self.side, self.command, unquote(urlsplit(self.path).path), headers)
        self.server.hub.requests.append(self.request_log)

    def reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.request_log.status = status
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str | None = None, message: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        self.reply(status, {**headers, "X-Error-Message": message} if message else headers)


class _Hub(_Handler):
    side = "hub"

    def answer(self) -> None:
        faults = self.server.hub.faults
        if faults.hub_status:
            self.refuse(faults.hub_status, message=faults.hub_message)
        elif match := _API.match(self.request_log.path):
            self._api(match)
        elif match := _RESOLVE.match(self.request_log.path):
            self._resolve(match)
        else:
            self.refuse(404)

    def _known(self, repo: str, revision: str) -> bool:
        hub = self.server.hub
        if repo not in hub.names:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
        elif revision not in ("main", "refs/pr/1", hub.commit):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return True
        return False

    def _api(self, match: re.Match[str]) -> None:
        hub = self.server.hub
        if not self._known(match["repo"], match["revision"] or "main"):
            return
        siblings = [{"rfilename": name} for name in hub.names[match["repo"]]]
        body = json.dumps({"id": match["repo"], "sha": hub.commit, "siblings": siblings, "tags": ["gguf"]}).encode()
        warning = {"X-HF-Warning": "unauthenticated; \x1b]0;owned\x07 hello"}
        self.reply(200, {"Content-Type": "application/json", **warning}, hub.faults.hub_body or body)

    def _resolve(self, match: re.Match[str]) -> None:
        hub, faults = self.server.hub, self.server.hub.faults
        if not self._known(match["repo"], match["revision"]):
            return
        if faults.gated and self.request_log.headers.get("authorization") != f"Bearer {hub.token}":
            self.refuse(faults.gated, "GatedRepo", f"Access to model {match['repo']} is restricted.")
            return
        found = hub.find(match["repo"], match["name"])
        if found is None:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        path, digest = found
        self.reply(
            302,
            {
                "Location": faults.redirect_to or f"{hub.store}/repos/{digest}?Expires=1&Signature=x",
                "X-Repo-Commit": hub.commit,
                "X-Linked-Etag": faults.etag or f'"{digest}"',
                "X-Linked-Size": str(path.stat().st_size if faults.size is None else faults.size),
                "ETag": '"not-this-one"',
                # Offered by the hub for most files now; the plain way has to stay open.
                "X-Xet-Hash": "0" * 64,
                "Link": f'<{hub.endpoint}/api/models/{match["repo"]}/xet-read-token/main>; rel="xet-auth"',
            },
        )


class _Store(_Handler):
    side = "store"

    def answer(self) -> None:
        faults = self.server.hub.faults
        path = self.server.hub.by_digest(self.request_log.path.rpartition("/")[2])
        if faults.store_status:
            self.refuse(faults.store_status.pop(0))
            return
        if path is None:
            self.refuse(404)
            return
        size = path.stat().st_size
        first, last = 0, size - 1
        wanted = _RANGE.match(self.request_log.range or "")
        if wanted and not faults.ignore_ranges:
            first, last = int(wanted[1]), min(int(wanted[2] or last), last)
        partly = bool(wanted) and not faults.ignore_ranges
        self.request_log.status = 206 if partly else 200
        self.send_response(self.request_log.status)
        self.send_header("Content-Length", str(last - first + 1))
        if partly:
            self.send_header("Content-Range", f"bytes {first + faults.wrong_range}-{last}/{size}")
        self.end_headers()
        with path.open("rb") as file:
            file.seek(first)
            self._send(file, last - first + 1)

    def _send(self, file: IO[bytes], n_bytes: int) -> None:
        faults, sent = self.server.hub.faults, 0
        cut = faults.cut_after.pop(0) if faults.cut_after else None
        while sent < n_bytes and sent != cut:
            stops = [stop - sent for stop in (cut, faults.hold_after, n_bytes) if stop is not None and stop > sent]
            piece = file.read(min(_PIECE_BYTES, *stops) if stops else _PIECE_BYTES)
            if faults.wrong_bytes:
                piece = bytes(len(piece))
            self.wfile.write(piece)
            sent += len(piece)
            self.request_log.sent_bytes = sent
            if sent == faults.hold_after:
                faults.released.wait(60)
        self.close_connection = True


@contextmanager
def serving() -> Iterator[HubServer]:
    """A hub that is up for as long as this lasts."""
    server = HubServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
