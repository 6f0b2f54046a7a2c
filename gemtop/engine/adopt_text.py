"""A page of text and a paragraph that announces it again, written for the check of adopted files."""

from __future__ import annotations

PAGE = """\
The warden of the salt road keeps a ledger, and this is its first page. On the ninth of March the cart of Odile \
Varga came down from Hollin with forty-one sacks of barley, two crates of blue glass and a lame grey mule called \
Pepper. On the eleventh the brothers Tamsin paid sixteen pence for a night in the loft and left a brass compass \
as a pledge. On the twelfth it rained, the lower ford was closed, and nobody came but a tinker who mended three \
kettles and would not give his name.
"""

BETWEEN = """
What is left of all that lies in a glass case in the museum, open at the beginning. One schoolteacher used to bring \
her class every spring and have the children read the page aloud, slowly, as if the carts were coming down the hill \
at that very moment. She said that nobody who had heard it in that way would ever forget it, and so that it is not \
forgotten here either, the page is given once more, word for word.

"""
