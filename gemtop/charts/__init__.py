"""Charts: what to show (pure) and how it looks in cells (plotext)."""
