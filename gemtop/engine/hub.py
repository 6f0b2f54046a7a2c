"""The one door to the Hugging Face hub: finding a model's files, pulling them, reading headers from afar.

huggingface_hub resolves names, signs requests and defines the cache, so what is pulled here is there for every program
that uses it. The bytes are fetched by this module: since huggingface_hub 1.x each download has a temporary file of its
own that goes when the process goes, and what arrives is checked for its size alone. Here a download goes on where an
earlier one was cut, and its SHA-256 must be the one the hub states.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import httpx2

from gemtop import __version__
from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.text import one_line
from gemtop.engine.gguf_scan import header_bytes, headers_folder
from gemtop.engine.hub_incoming import Arrival, Incoming
from gemtop.engine.hub_names import HubSpec, choose, is_safe

try:
    # By itself: what is wrong in it would also be printed, were it met on the way to another name.
    import huggingface_hub.constants as constants
    from huggingface_hub import (
        HfApi,
        get_hf_file_metadata,
        get_session,
        get_token,
        hf_hub_url,
        hf_raise_for_status,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        OIDCError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]
except ValueError as error:  # it reads its settings when it is imported
    raise BadInputError(f"a setting of the Hugging Face hub in the environment (HF_*) is wrong: {error}") from None

constants.HF_HUB_DISABLE_TELEMETRY = True  # it begins with a request for a list of programs to look out for
if not constants.HF_DEBUG:
    # It would print what servers say in headers, as it came.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")
_MOST_REDIRECTS = 5
_HEADER_RANGE_BYTES = 8 << 20
"""A Gemma 3 header, 7 MB of vocabulary, in one request."""

ANSWER_BYTES = 32 << 30
"""At most so much is asked for at once: the hub's stores answer with 50 GB at most (MAX_HTTP_DOWNLOAD_SIZE)."""

PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""How long to wait before trying again, while nothing arrives; whatever arrives starts the count anew."""


class HubError(GemtopError):
    """The hub, or the way to it, failed."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub, as a request for it says it is."""

    name: str
    """Its path in the repository; safe to join to a folder."""
    url: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """A file in the cache."""

    path: Path
    size_bytes: int
    was_there: bool


class Hub:
    """A hub and the cache that goes with it.

    Left out, the endpoint, the cache and the token are those of the environment: HF_ENDPOINT, HF_HUB_CACHE or HF_HOME,
    and HF_TOKEN or what `hf auth login` left. `pauses_s` is how often and after how long a download that stands still
    is tried again, `answer_bytes` how much is asked for at once.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        cache: Path | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.cache = (cache or Path(constants.HF_HUB_CACHE)).absolute()
        self._pauses_s = pauses_s
        self._answer_bytes = answer_bytes
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInputError(f"HF_ENDPOINT is {one_line(self.endpoint)}; it must begin with https:// or http://")
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._token = _token()
        if not (self._token.isascii() and self._token.isprintable()):
            raise BadInputError("the token in HF_TOKEN or of `hf auth login` holds characters that no token has")

    def find(self, spec: HubSpec) -> tuple[str, tuple[str, ...]]:
        """The commit of the revision, and the files of the model in it. Raises BadInputError or HubError."""
        with self._in_plain_words(spec):
            api = HfApi(self.endpoint, token=self._token or False, library_name="gemtop", library_version=__version__)
            info = api.model_info(spec.repo, revision=spec.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            names = [str(sibling.rfilename) for sibling in info.siblings or ()]
            commit = str(info.sha)
        if not _COMMIT.match(commit):
            self._no_hub()
        return commit, choose(spec.repo, filter(is_safe, names), spec.choice)

    def look_up(self, spec: HubSpec, commit: str, name: str) -> RemoteFile:
        """Size and SHA-256 of a file. Raises BadInputError, where it is gated for one, or HubError."""
        url = hf_hub_url(spec.repo, name, revision=commit, endpoint=self.endpoint)
        with self._in_plain_words(spec, name):
            found = get_hf_file_metadata(url, token=self._token or False, endpoint=self.endpoint)
        if found.size is None or not _SHA256.match(found.etag or ""):
            raise HubError(f"{self._shown} states no size and SHA-256 for {name}, so nothing could be checked")
        return RemoteFile(name, url, found.size, str(found.etag))

    def pull(
        self,
        spec: HubSpec,
        watch: Callable[[Arrival], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> list[Pulled]:
        """Bring a model's files into the cache and say where they are, the first part first.

        What is there is not fetched again, and what is there in part is completed. Raises BadInputError for what cannot
        be had, or has no room, and HubError for what failed on the way; what has arrived is kept then.
        """
        commit, names = self.find(spec)
        folder = self.cache / repo_folder_name(repo_id=spec.repo, repo_type="model")
        pulled = {}
        with _storage_errors(folder):
            for name in names:
                path = try_to_load_from_cache(spec.repo, name, self.cache, revision=commit)
                if isinstance(path, str):
                    pulled[name] = Pulled(Path(path), Path(path).stat().st_size, was_there=True)
            missing = [self.look_up(spec, commit, name) for name in names if name not in pulled]
            self._check_room(folder, missing)
            for file in missing:
                pulled[file.name] = self._bring(spec, file, folder, folder / "snapshots" / commit, watch, say)
            _note_revision(folder, spec.revision, commit)
        return [pulled[name] for name in names]

    def read_header(self, spec: HubSpec, commit: str, name: str, target: Path) -> None:
        """Write a file's header to `target` and make that as long as the whole file: the weights are a hole."""
        file = self.look_up(spec, commit, name)
        with self._in_plain_words(spec, name), closing(self._pieces(file)) as pieces:
            header = header_bytes(pieces, f"{spec.repo}/{name}", file.size_bytes)
        with _storage_errors(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
            try:
                unfinished.write_bytes(header)
                os.truncate(unfinished, file.size_bytes)
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)

    def _pieces(self, file: RemoteFile) -> Generator[bytes]:
        """A file from its beginning, range by range; a server that ignores ranges sends it all in the first answer."""
        at = 0
        while at < file.size_bytes:
            before = at
            with self._answer(file.url, at, at + _HEADER_RANGE_BYTES - 1) as response:
                self._check_start(response, at)
                for piece in response.iter_bytes():
                    at += len(piece)
                    yield piece
            if at == before:
                return

    @staticmethod
    def _check_room(folder: Path, files: list[RemoteFile]) -> None:
        """Raises BadInputError where the files do not fit beside what has already arrived of them."""
        blobs = folder / "blobs"
        wanted = sum(file.size_bytes - _size(_partial(blobs, file)) for file in files if not _size(blobs / file.sha256))
        place = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(place).free
        if wanted > free:
            raise BadInputError(
                f"{wanted / 1e9:,.2f} GB are still to come and {one_line(str(place))} has {free / 1e9:,.2f} GB free; "
                "make room, or set HF_HUB_CACHE to another folder"
            )

    def _bring(
        self,
        spec: HubSpec,
        file: RemoteFile,
        folder: Path,
        snapshot: Path,
        watch: Callable[[Arrival], None],
        say: Callable[[str], None],
    ) -> Pulled:
        """One file into the cache: its bytes under their SHA-256, and a link with its name."""
        blobs = folder / "blobs"
        blob = blobs / file.sha256
        locks = folder.parent / ".locks" / folder.name
        for needed in (blobs, locks, (snapshot / file.name).parent):
            needed.mkdir(parents=True, exist_ok=True)
        was_there = blob.exists()
        if not was_there:
            try:  # the lock that huggingface_hub takes for it
                with WeakFileLock(locks / f"{file.sha256}.lock", timeout=0.5):
                    if not blob.exists():
                        self._fetch(spec, file, _partial(blobs, file), watch, say)
                        _partial(blobs, file).replace(blob)
            except TimeoutError:
                raise HubError(f"another program is fetching {file.name}; try again when it is done") from None
        return Pulled(_link(blob, snapshot / file.name), file.size_bytes, was_there)

    def _fetch(
        self,
        spec: HubSpec,
        file: RemoteFile,
        partial: Path,
        watch: Callable[[Arrival], None],
        say: Callable[[str], None],
    ) -> None:
        """Complete a partial file. Raises HubError where it cannot be, or is not what the hub states."""
        with Incoming(partial, file.name, file.size_bytes, watch) as incoming:
            furthest, waits = incoming.n_bytes, 0
            there = f"; going on from the {furthest / file.size_bytes:.0%} that are there" if furthest else ""
            say(f"fetching {file.name}, {file.size_bytes / 1e6:,.1f} MB{there}")
            while incoming.n_bytes < file.size_bytes:
                try:
                    with self._in_plain_words(spec, file.name):
                        self._receive(incoming, file, say)
                    reason = "the connection was closed too early"
                except _PassingError as error:
                    reason = str(error)
                if incoming.n_bytes > furthest:
                    furthest, waits = incoming.n_bytes, 0
                elif waits < len(self._pauses_s):
                    time.sleep(self._pauses_s[waits])
                    waits += 1
                else:
                    raise HubError(
                        f"{file.name}: {reason}; {furthest / file.size_bytes:.0%} is kept and the same command goes on"
                    )
            digest = incoming.digest()
        if digest != file.sha256:
            partial.unlink()
            raise HubError(
                f"{file.name} is not what the hub states (SHA-256 {digest[:12]}… instead of {file.sha256[:12]}…); "
                "it was deleted, try again"
            )

    def _receive(self, incoming: Incoming, file: RemoteFile, say: Callable[[str], None]) -> None:
        """Add what one request brings."""
        last = min(incoming.n_bytes + self._answer_bytes, file.size_bytes) - 1
        with self._answer(file.url, incoming.n_bytes, last) as response:
            if response.status_code == httpx2.codes.OK and incoming.n_bytes:
                say(f"{file.name}: the server cannot go on in the middle; starting from the beginning")
                incoming.restart()
            self._check_start(response, incoming.n_bytes)
            for piece in response.iter_bytes():
                incoming.add(piece)

    def _check_start(self, response: httpx2.Response, at: int) -> None:
        """Raises HubError where an answer does not begin at this byte."""
        found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
        partly = response.status_code == httpx2.codes.PARTIAL_CONTENT
        if (int(found[1]) if partly and found else None if partly else 0) != at:
            raise HubError(f"{self._host(response)} sent another part of the file than it was asked for")

    @contextmanager
    def _answer(self, url: str, first: int, last: int) -> Iterator[httpx2.Response]:
        """A GET of a range of bytes, both ends included.

        Redirects are followed here, so that the token goes to the hub alone and https never becomes http.
        """
        for _ in range(_MOST_REDIRECTS):
            headers = {"user-agent": f"gemtop/{__version__}", "range": f"bytes={first}-{last}"}
            headers["accept-encoding"] = "identity"
            if self._token and _origin(url) == _origin(self.endpoint):
                headers["authorization"] = f"Bearer {self._token}"
            with get_session().stream(
                "GET", url, headers=headers, follow_redirects=False, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            ) as response:
                if not response.has_redirect_location:
                    hf_raise_for_status(response)
                    yield response
                    return
                url = self.next_address(url, response.headers["location"])
        raise HubError(f"{self._shown} leads from one address to the next without end")

    def next_address(self, url: str, location: str) -> str:
        """Where a redirect leads. Raises HubError where it leads from https to http."""
        address = urljoin(url, location)
        if self.endpoint.startswith("https:") and not address.startswith("https:"):
            raise HubError(f"{self._shown} leads to an address without https; that is not followed")
        return address

    @contextmanager
    def _in_plain_words(self, spec: HubSpec, name: str = "") -> Iterator[None]:
        """Turns what huggingface_hub and the network raise into one line; _PassingError for what may be gone soon."""
        what = f"{spec.repo}/{name}" if name else spec.repo
        try:
            yield
        except OfflineModeIsEnabled:
            raise BadInputError(f"HF_HUB_OFFLINE is set, so the hub cannot be asked for {what}") from None
        except GatedRepoError:
            account = "; the token in use has no access" if self._token else ""
            raise BadInputError(
                f"{spec.repo} is gated{account}: accept its licence at {self._shown}/{spec.repo}, then set HF_TOKEN "
                "to a token of that account or run `hf auth login`"
            ) from None
        except RevisionNotFoundError:
            raise BadInputError(f"{spec.repo} has no revision {spec.revision}") from None
        except RemoteEntryNotFoundError:
            raise BadInputError(f"{spec.repo} has no file {name}") from None
        except RepositoryNotFoundError:
            raise BadInputError(
                f"{self._shown} has no model {spec.repo}, or it is private: check the name, and HF_TOKEN"
            ) from None
        except HfHubHTTPError as error:
            self._refused(what, error)
        except httpx2.HTTPError as error:
            reason = self._safe(str(error) or type(error).__name__)
            raise _PassingError(f"{self._shown} cannot be reached for {what}: {reason}") from None
        except (AttributeError, KeyError, TypeError, ValueError):
            self._no_hub()

    def _refused(self, what: str, error: HfHubHTTPError) -> NoReturn:
        status = error.response.status_code
        words = f" ({self._safe(error.server_message)})" if error.server_message else ""
        if status in (401, 403):
            raise BadInputError(f"{self._host(error.response)} refuses {what}{words}: check HF_TOKEN")
        if status == 429 or status >= 500:
            raise _PassingError(f"{self._host(error.response)} answers {status} for {what}{words}; try again later")
        raise HubError(f"{self._host(error.response)} answers {status} for {what}{words}")

    def _no_hub(self) -> NoReturn:
        raise HubError(f"{self._shown} does not answer as a Hugging Face hub does; check HF_ENDPOINT")

    def _safe(self, words: str) -> str:
        """A server's words, short and without the token."""
        hidden = words.replace(self._token, "(token)") if self._token else words
        return one_line(hidden)[:200]

    @staticmethod
    def _host(response: httpx2.Response) -> str:
        return one_line(response.url.host)


class _PassingError(HubError):
    """A fault that may be gone at the next attempt."""


def remote_header(spec: HubSpec, where: Paths, hub: Hub | None = None) -> Path:
    """A file with the header of a model on the hub, and a hole where its weights would be.

    Some MB are fetched, once for each commit. For a split model it is the first part, and the others lie beside it.
    Such files can be planned with, not run: gguf_scan.is_header_only tells. Raises BadInputError or HubError.
    """
    hub = hub or Hub()
    commit, names = hub.find(spec)
    # The repository's folder is named as in the cache of the hub: classify() reads QAT from such names.
    folder = headers_folder(where) / repo_folder_name(repo_id=spec.repo, repo_type="model") / commit
    for name in names:
        if not (folder / name).exists():
            hub.read_header(spec, commit, name, folder / name)
    return folder / names[0]


def _partial(blobs: Path, file: RemoteFile) -> Path:
    return blobs / f"{file.sha256}.incomplete"


def _link(blob: Path, pointer: Path) -> Path:
    """The file's name in its snapshot, leading to its bytes; the bytes themselves where there are no links."""
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except FileExistsError:
        pass
    except OSError:
        blob.replace(pointer)
    return pointer


def _note_revision(folder: Path, revision: str, commit: str) -> None:
    """Which commit a branch or tag was at, for those who look without a network."""
    if revision != commit:
        ref = folder / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        unfinished = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
        unfinished.write_text(commit)
        unfinished.replace(ref)


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """Raises HubError where the disk fails, a full one among them."""
    try:
        yield
    except OSError as error:
        raise HubError(f"{one_line(str(folder))} cannot be written: {error.strerror or error}") from None


def _token() -> str:
    """The user's token, empty where there is none. Raises BadInputError where one is set up that cannot be had."""
    try:
        return "" if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token() or ""
    except (OIDCError, OSError, ValueError, httpx2.HTTPError) as error:
        raise BadInputError(f"the token for the hub cannot be had: {one_line(str(error))}") from None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
