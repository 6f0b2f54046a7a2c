"""How much is sent to the terminal, counted where Textual's driver takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.driver import Driver


class Traffic:
    """Bytes sent since the driver was `watch`ed. Read by any thread."""

    def __init__(self) -> None:
        self.sent_bytes = 0

    def watch(self, driver: Driver) -> None:
        """Count what goes through this driver from now on."""
        write = driver.write

        def counted(data: str) -> None:
            self.sent_bytes += len(data.encode("utf-8", "surrogatepass"))
            write(data)

        driver.write = counted  # type: ignore[method-assign]
