"""A comparison as a folder: a page in Markdown and one in HTML, figures, and the data with the SQL behind them."""
