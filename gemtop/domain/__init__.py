"""Frozen types and arithmetic; standard library only."""
