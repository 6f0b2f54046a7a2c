"""Variants held against each other: the runs and texts that takes, in any front end, and what comes of them."""
