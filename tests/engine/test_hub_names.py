"""Which files of a repository a name means, on listings as repositories have them."""

from __future__ import annotations

import pytest

from gemtop.domain.errors import BadInputError
from gemtop.engine.hub_names import HubSpec, choose, is_safe, parse_spec

GOOGLE = [".gitattributes", "README.md", "gemma-3-27b-it-q4_0.gguf", "mmproj-model-f16-27B.gguf"]
UNSLOTH = [
    "BF16/gemma-3-27b-it-BF16-00001-of-00002.gguf",
    "BF16/gemma-3-27b-it-BF16-00002-of-00002.gguf",
    "gemma-3-27b-it-F16.gguf",
    "gemma-3-27b-it-Q2_K.gguf",
    "gemma-3-27b-it-Q4_0.gguf",
    "gemma-3-27b-it-Q4_1.gguf",
    "gemma-3-27b-it-Q4_K_M.gguf",
    "gemma-3-27b-it-Q8_0.gguf",
    "gemma-3-27b-it-UD-Q4_K_XL.gguf",
    "imatrix_unsloth.gguf",
    "mmproj-BF16.gguf",
    "mmproj-F16.gguf",
]
WITHOUT_DEFAULTS = ["imatrix.gguf", "mmproj-x-f16.gguf", "x-IQ2_M.gguf", "x-IQ3_M.gguf"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:google/gemma-3-27b-it-qat-q4_0-gguf", ("google/gemma-3-27b-it-qat-q4_0-gguf", None)),
        ("hf:unsloth/gemma-3-27b-it-GGUF:q4_k_m", ("unsloth/gemma-3-27b-it-GGUF", "q4_k_m")),
        ("hf:hf.co/unsloth/gemma-3-27b-it-GGUF:Q4_0", ("unsloth/gemma-3-27b-it-GGUF", "Q4_0")),
        ("hf:huggingface.co/a/b", ("a/b", None)),
        ("hf:hf.co/b:x/y.gguf", ("hf.co/b", "x/y.gguf")),
        ("hf:a/b:BF16/x-00001-of-00002.gguf", ("a/b", "BF16/x-00001-of-00002.gguf")),
    ],
)
def test_a_name(text: str, expected: tuple[str, str | None]) -> None:
    assert parse_spec(text) == HubSpec(*expected, revision="main")


@pytest.mark.parametrize(
    "text",
    [
        "", "hf:", "hf:gemma", "google/gemma", "hf:a/b/c", "hf:hf.co/a/b/c", "hf:a/b:", "hf:../b", "hf:a/..",
        "hf:a/b--c", "hf:a/b..c",
        "hf:-a/b", "hf:a/.b", "hf:a/b.git", "hf:a/b?x", "hf:a/b c", "hf://a/b", "hf:a/" + "b" * 95, "hf:a/b\n",
        "hf:ä/b",
    ],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(BadInputError, match="names no repository; write hf:OWNER/NAME"):
        parse_spec(text)


def test_revisions() -> None:
    for revision in ("main", "v1.0", "refs/pr/3", "c0ffee" * 6 + "c0ff"):
        assert parse_spec("hf:a/b", revision).revision == revision
    for revision in ("", "..", "a/../b", "/etc", "a//b", "a b", "-x", "a\x1b[m"):
        with pytest.raises(BadInputError, match="is no revision"):
            parse_spec("hf:a/b", revision)


@pytest.mark.parametrize(
    ("names", "choice", "expected"),
    [
        (GOOGLE, None, GOOGLE[2:3]),
        (GOOGLE, "Q4_0", GOOGLE[2:3]),
        (GOOGLE, "mmproj-model-f16-27B.gguf", GOOGLE[3:4]),
        (UNSLOTH, None, ["gemma-3-27b-it-Q4_K_M.gguf"]),
        (UNSLOTH, "q4_0", ["gemma-3-27b-it-Q4_0.gguf"]),
        (UNSLOTH, "Q4_K_XL", ["gemma-3-27b-it-UD-Q4_K_XL.gguf"]),
        (UNSLOTH, "UD-Q4_K_XL", ["gemma-3-27b-it-UD-Q4_K_XL.gguf"]),
        (UNSLOTH, "F16", ["gemma-3-27b-it-F16.gguf"]),
        (UNSLOTH, "bf16", UNSLOTH[:2]),
        (UNSLOTH, "gemma-3-27b-it-BF16-00002-of-00002.gguf", UNSLOTH[:2]),
        (UNSLOTH, "BF16/gemma-3-27b-it-BF16-00001-of-00002.gguf", UNSLOTH[:2]),
        (UNSLOTH[:1] + UNSLOTH[7:8], None, ["gemma-3-27b-it-Q8_0.gguf"]),
        (WITHOUT_DEFAULTS, None, ["x-IQ2_M.gguf"]),
        (["x-00002-of-00002.gguf", "x-00001-of-00002.gguf"], None, ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"]),
        (["MODEL.GGUF"], None, ["MODEL.GGUF"]),
    ],
)
def test_which_files(names: list[str], choice: str | None, expected: list[str]) -> None:
    assert choose("a/b", names, choice) == tuple(expected)


@pytest.mark.parametrize(
    ("names", "choice", "words"),
    [
        (["README.md"], None, "a/b holds no GGUF file; repositories that do often end in -GGUF"),
        (UNSLOTH, "Q9_X", "a/b has no Q9_X; it has BF16, F16, Q2_K, Q4_0, Q4_1, Q4_K_M, Q8_0, Q4_K_XL"),
        (UNSLOTH, "Q4", "a/b has no Q4; it has BF16, F16, "),
        (GOOGLE, "other.gguf", "a/b has no other.gguf; it has gemma-3-27b-it-q4_0.gguf, mmproj-model-f16-27B.gguf"),
        (["mmproj-F16.gguf"], None, "a/b has no model; it has none at all"),
        (["x-4b-Q4_K_M.gguf", "x-1b-Q4_K_M.gguf"], None,
         "a/b holds several files for Q4_K_M: name one of x-4b-Q4_K_M.gguf, x-1b-Q4_K_M.gguf"),
        (["x-4b-Q4_0.gguf", "x-1b-Q4_0.gguf"], "q4_0", "several files for q4_0"),
        (["1b/x.gguf", "4b/x.gguf"], "x.gguf", "several files for x.gguf: name one of 1b/x.gguf, 4b/x.gguf"),
        (["x-Q8_0-00001-of-00004.gguf", "x-Q8_0-00003-of-00004.gguf"], "Q8_0", "a/b lacks part 2, 4 of 4 of Q8_0"),
    ],
)  # fmt: skip
def test_what_is_there_is_listed(names: list[str], choice: str | None, words: str) -> None:
    with pytest.raises(BadInputError) as error:
        choose("a/b", names, choice)
    assert words in str(error.value)


def test_a_long_listing_ends() -> None:
    names = [f"x{i}-model.gguf" for i in range(500)]
    with pytest.raises(BadInputError, match=r"x39-model\.gguf and 460 more"):
        choose("a/b", names, "Q4_0")


@pytest.mark.parametrize(
    "name",
    ["../x.gguf", "/etc/x.gguf", "a/../../x.gguf", "a//x.gguf", "./x.gguf", "a\\..\\x.gguf", "", "x\x1b[31m.gguf",
     "x\n.gguf", "x\u202e.gguf", "x\ud800.gguf", "x" * 300 + ".gguf"],
)  # fmt: skip
def test_names_that_are_not_trusted(name: str) -> None:
    assert not is_safe(name)


def test_names_that_are() -> None:
    assert all(map(is_safe, UNSLOTH + GOOGLE + ["a b.gguf", "模型.gguf", "a..b.gguf"]))
