"""How many tokens a text has by a model's vocabulary, without loading the model."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line


class TokenCounter:
    """Counts by a child process, which is started at the first question. Close it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._child: subprocess.Popen[str] | None = None

    def __call__(self, text: str) -> int:
        """Tokens of a text, without BOS. Raises BadInputError where the file's vocabulary cannot be read."""
        child = self._child or self._start()
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(text) + "\n")
            child.stdin.flush()
            return int(child.stdout.readline())
        except (OSError, ValueError) as error:
            raise self._failed() from error

    def _start(self) -> subprocess.Popen[str]:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "gemtop.engine.tokens_child", self._path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C on the terminal is for this process to handle
        )
        assert self._child.stdout is not None
        if self._child.stdout.readline() != "ready\n":
            raise self._failed()
        return self._child

    def _failed(self) -> BadInputError:
        self.close()
        return BadInputError(f"llama.cpp cannot read the vocabulary of {one_line(self._path)}")

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        child.wait()

    def __enter__(self) -> TokenCounter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
