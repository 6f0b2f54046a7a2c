"""A recorded session as the live one would have shown itself, at any moment of it."""

from gemtop.replay.player import Replay, Source

__all__ = ["Replay", "Source"]
