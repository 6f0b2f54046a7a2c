"""Which signals a command hears."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


def hear(handler: Handler, *numbers: signal.Signals) -> dict[signal.Signals, object]:
    """Have these signals handled, but for those that the command was started to ignore; what handled them before.

    A shell has a command in the background ignore SIGINT, and nohup has it ignore SIGHUP: that stays so.
    """
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def hear_again(before: dict[signal.Signals, object]) -> None:
    """Have those signals handled as before `hear`."""
    for number, handler in before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
