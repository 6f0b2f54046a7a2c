"""Readings of GPUs and of this machine."""
