"""The abort guard: what ggml says before it would end the process is kept, and the process lives on.

ggml calls its abort callback on the thread that failed and calls abort() when that returns. So it never
returns: the thread is parked for good, every other Python thread runs on, and the user reads what happened.
llama.cpp's state is lost; only a new process can load a model again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

from gemtop.domain.text import one_line
from gemtop.engine.binding import AbortMessageCallback, c

_BUILD_FOLDER = re.compile(r"(?:/[^\s:]*/)([^/\s:]+:\d+: )")
"""The folder a message's source file was compiled in: of no use to the reader, the file and line are."""

_callbacks: list[Any] = []
"""The callback in force: ggml keeps only the pointer."""


def install(on_abort: Callable[[str], None]) -> None:
    """Call `on_abort` with ggml's message on the thread that failed, then park that thread."""

    def guard(message: bytes) -> None:
        try:
            on_abort(_BUILD_FOLDER.sub(r"\1", one_line(message.decode("utf-8", "replace"))))
        finally:  # whatever comes of telling: returning from here would end the process
            while True:
                threading.Event().wait()

    callback = AbortMessageCallback(guard)
    _callbacks[:] = [callback]
    c("ggml_set_abort_callback")(callback)
