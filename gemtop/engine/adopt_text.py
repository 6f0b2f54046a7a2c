"""A page of text and what announces it again, written for the check of adopted files."""

from __future__ import annotations

PAGE = """\
The warden of the salt road keeps a ledger, and this is its first page. On the ninth of March the cart of Odile \
Varga came down from Hollin with forty-one sacks of barley, two crates of blue glass and a lame grey mule called \
Pepper. On the eleventh the brothers Tamsin paid sixteen pence for a night in the loft and left a brass compass \
as a pledge.
"""

BETWEEN = """
A schoolteacher used to have her class read that page aloud, slowly, as if the carts were coming down the hill at \
that very moment. So that it is not forgotten, here it is once more, word for word.

"""
