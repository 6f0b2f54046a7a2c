"""Quantising: other formats of a model's file, made by llama.cpp's own quantiser in a child process.

llama_model_quantize runs to its end whatever happens, and aborts on some files; a child can be killed, and dies with
this process (quantize_child.py). What llama.cpp would make of each tensor is its own answer, from a dry run. A file is
written beside its place, read again, held against that answer, and moved there when it is what it should be.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemtop import __version__
from gemtop.domain import provenance
from gemtop.domain.classify import SAYS_DERIVED, classify
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.model import ModelHeader
from gemtop.domain.plan import gib
from gemtop.domain.quantization import (
    FILE_TYPES,
    OUTPUT,
    Fallback,
    Outline,
    Quantized,
    QuantizeOptions,
    TensorChange,
    is_quantized,
)
from gemtop.domain.text import one_line
from gemtop.engine.adopt_layout import check_layout, file_name
from gemtop.engine.binding import llama_build
from gemtop.engine.child import answers
from gemtop.engine.cpu import physical_cores
from gemtop.engine.files import show
from gemtop.engine.gguf import check_language_model, part_paths, read_header
from gemtop.engine.output import FreeBytes, cannot_write, free_bytes, temporary
from gemtop.engine.stores.stored import split_part, without_quant

Progress = Callable[[float, str], None]
"""Told the share of the file's bytes that are written, and the tensor that was written last."""

PLACE = "--output or --output-dir"
"""The flags that name another place."""
_KEYS_BYTES = 4096
"""What the file's metadata takes more than the source's, at most."""


class Quantizer:
    """A source, and what is to be made of it."""

    def __init__(self, source: ModelHeader, options: QuantizeOptions) -> None:
        """Raises BadInputError for a source that cannot be quantised, and for options that would do nothing to it."""
        check_language_model(source)
        check_layout(source)
        self.source = source
        self.label = classify(source)
        self._options = options
        self._check_options()
        self._imatrix_sha256 = _sha256(options.imatrix) if options.imatrix else ""

    def outline(self, format_name: str) -> Outline:
        """What llama.cpp would make of the source. Nothing is read but headers, nothing is written.

        Raises BadInputError where it would quantise again without leave, or needs what was not given; GemtopError in
        llama.cpp's own words.
        """
        self._check_output_type(format_name)
        tensors: list[TensorChange] = []
        done = self._run(format_name, lambda tensor: tensors.append(tensor))
        if {tensor.name for tensor in tensors} != {tensor.name for tensor in self.source.tensors}:
            raise GemtopError(
                "this llama.cpp build does not say what it would make of each tensor, in words known here"
            )
        if done["needs_imatrix"]:
            raise BadInputError(f"{format_name} needs an importance matrix; give one with --imatrix")
        outline = Outline(
            format_name,
            tuple(tensors),
            tuple(Fallback(*each) for each in done["fallbacks"]),
            sum(tensor.size_bytes for tensor in tensors) + self._header_bytes(),
            self.source.parameters,
            self.label.derived or any(tensor.requantized for tensor in tensors),
        )
        if outline.n_requantized and not self._options.allow_requantize and self.why_skip(outline) is None:
            raise BadInputError(self._why_not_again(outline))
        return outline

    def why_skip(self, outline: Outline) -> str | None:
        """Why a format need not be made; None where it is to be."""
        if self.label.quantization == outline.format and not self._options.as_flags():
            return f"{show(Path(self.source.path))} is {outline.format} already"
        if outline.changes_nothing:
            return f"every tensor of {show(Path(self.source.path))} is what {outline.format} would make of it already"
        return None

    def target(self, outline: Outline, folder: Path) -> Path:
        """The file to write: named as such files are, after the source."""
        return folder / file_name_of(self.source, outline)

    def write(self, outline: Outline, target: Path, on_progress: Progress) -> Quantized:
        """Make the file. Whatever stops this leaves nothing behind.

        Raises BadInputError where the target cannot be written, GemtopError where llama.cpp fails.
        """
        begun_s = time.monotonic()
        total, written = max(outline.tensor_bytes, 1), 0

        def on_tensor(tensor: TensorChange) -> None:
            nonlocal written
            written += tensor.size_bytes
            on_progress(written / total, tensor.name)

        with temporary(target, PLACE) as (part, descriptor):
            on_progress(0.0, outline.tensors[0].name)
            done = self._run(outline.format, on_tensor, (target, part, descriptor), outline)
            header = _verified(part, outline)
            part.replace(target)
        return Quantized(
            path=str(target),
            outline=outline,
            classification=classify(replace(header, path=str(target))),
            size_bytes=header.size_bytes,
            fingerprint=header.fingerprint,
            n_without_imatrix=done["n_without_imatrix"],
            took_s=time.monotonic() - begun_s,
        )

    def _run(
        self,
        format_name: str,
        on_tensor: Callable[[TensorChange], None],
        place: tuple[Path, Path, int] | None = None,
        outline: Outline | None = None,
    ) -> dict[str, Any]:
        """Have the child go over all tensors, into a temporary file or nowhere; its last word."""
        request = self._request(format_name, place, outline)
        descriptors = (place[2],) if place else ()
        with closing(answers("gemtop.engine.quantize_child", request, "the quantiser", descriptors)) as said:
            for word in said:
                if "tensor" in word:
                    on_tensor(TensorChange(**word["tensor"]))
                elif "done" in word:
                    return word
                elif place and "errno" in word:
                    cannot_write(place[0], OSError(word["errno"], word["error"]), PLACE)
                else:
                    raise (BadInputError if word.get("bad_input") else GemtopError)(one_line(word["error"]))
        raise GemtopError("the quantiser ended without an answer")

    def _request(
        self, format_name: str, place: tuple[Path, Path, int] | None, outline: Outline | None
    ) -> dict[str, Any]:
        options = self._options
        return {
            "source": self.source.path,
            "target": str(place[1]) if place else None,
            "descriptor": place[2] if place else None,
            "file_type": FILE_TYPES[format_name],
            "pure": options.pure,
            "token_embedding_type": options.token_embedding_type,
            "output_tensor_type": options.output_tensor_type,
            "leave_output_tensor": options.leave_output_tensor,
            "allow_requantize": options.allow_requantize,
            "imatrix": options.imatrix,
            "n_threads": options.n_threads or physical_cores(),
            "keys": self._keys(outline) if outline else [],
        }

    def _keys(self, outline: Outline) -> list[tuple[str, str | bool]]:
        """What the file says of its making."""
        imatrix = os.path.basename(self._options.imatrix) if self._options.imatrix else ""  # noqa: PTH119
        return [
            (provenance.SOURCE_NAME, self.source.known_as or Path(self.source.path).name),
            (provenance.SOURCE_FINGERPRINT, self.source.fingerprint),
            (provenance.SOURCE_QUANTIZATION, self.label.quantization),
            (provenance.SOURCE_TRAINING, self.label.training),
            (provenance.FORMAT, outline.format),
            (provenance.OPTIONS, self._options.as_flags()),
            (provenance.REQUANTIZED, outline.n_requantized > 0),
            (provenance.DERIVED, outline.derived),
            (provenance.IMATRIX_NAME, imatrix),
            (provenance.IMATRIX_SHA256, self._imatrix_sha256),
            (provenance.LLAMA_BUILD, llama_build()),
            (provenance.BY, f"gemtop {__version__}"),
        ]

    def _header_bytes(self) -> int:
        """At most what the file has beside its tensors."""
        source = self.source
        return source.size_bytes - sum(tensor.size_bytes for tensor in source.tensors) + _KEYS_BYTES

    @property
    def _ties_output(self) -> bool:
        return all(tensor.name != OUTPUT for tensor in self.source.tensors)

    def _check_options(self) -> None:
        options = self._options
        if options.leave_output_tensor and options.output_tensor_type:
            raise BadInputError("--leave-output-tensor and --output-tensor-type contradict each other; give one")
        if options.leave_output_tensor and self._ties_output:
            raise BadInputError(f"--leave-output-tensor does nothing here: {_TIED}")

    def _check_output_type(self, format_name: str) -> None:
        """llama.cpp gives that type to an embedding that is the output as well, but not in every case."""
        options = self._options
        if not (options.output_tensor_type and self._ties_output):
            return
        because = {
            "with --pure": options.pure,
            "with --token-embedding-type": options.token_embedding_type is not None,
            f"for {format_name}": not is_quantized(format_name),
        }
        for words, so in because.items():
            if so:
                raise BadInputError(f"--output-tensor-type does nothing {words}: {_TIED}")

    def _why_not_again(self, outline: Outline) -> str:
        types = sorted({tensor.before for tensor in outline.tensors if tensor.requantized})
        return (
            f"{show(Path(self.source.path))} is {self.label.quantization}: {outline.n_requantized} of "
            f"{len(outline.tensors)} tensors are quantised already ({', '.join(types)}), and {outline.format} would "
            "quantise them again, which costs quality; give the model in F16 or BF16, or --allow-requantize, and what "
            "is made is called derived for good"
        )


_TIED = "this model has no output.weight, its embedding is its output; --token-embedding-type is about that"


def file_name_of(source: ModelHeader, outline: Outline) -> str:
    """gemma-3-27b-it-Q4_K_M.gguf after gemma-3-27b-it-BF16.gguf; the word derived goes before the format."""
    own = Path(source.path).name
    name = file_name(source) if source.known_as or own.startswith("sha256-") else own
    part = split_part(name)
    stem = without_quant(part[0] if part else name.removesuffix(".gguf"))
    if outline.derived and not SAYS_DERIVED.search(stem):
        stem += "-derived"
    return f"{stem}-{outline.format}.gguf"


def check_target(source: ModelHeader, target: Path, *, force: bool) -> None:
    """Raises BadInputError for a target that is there already, or cannot be one."""
    if os.path.isdir(target):  # noqa: PTH112  (pathlib's raises where a folder above may not be looked into)
        raise BadInputError(f"{show(target)} is a folder; give the name of a file in it")
    if not os.path.isdir(target.parent):  # noqa: PTH112
        raise BadInputError(f"{show(target.parent)} is no folder; make it first, or give another with {PLACE}")
    if os.path.lexists(target):
        there = os.path.exists(target)  # noqa: PTH110
        if there and any(target.samefile(part) for part in part_paths(source)):
            raise BadInputError(f"{show(target)} is the source itself; give another place with {PLACE}")
        if not force:
            raise BadInputError(f"{show(target)} is there already; use it, or write it again with --force")


def check_space(folder: Path, outlines: Sequence[Outline], free: FreeBytes = free_bytes) -> None:
    """Raises BadInputError where the disk has no room for all of these files together."""
    needed = sum(outline.size_bytes for outline in outlines)
    try:
        there = free(folder)
    except OSError as error:
        cannot_write(folder, error, PLACE)
    if there < needed:
        what = f"{len(outlines)} files take" if len(outlines) > 1 else "the file takes"
        raise BadInputError(
            f"{what} {gib(needed)}, and {show(folder)} has {gib(there)} free; make room, or give another place with "
            f"{PLACE}"
        )


def _verified(part: Path, outline: Outline) -> ModelHeader:
    """The header of a file that was written. Raises GemtopError where it is not what it should be."""
    header = read_header(part)
    written = {tensor.name: tensor.type_name for tensor in header.tensors}
    if written != {tensor.name: tensor.after for tensor in outline.tensors}:
        raise GemtopError(f"llama.cpp wrote other tensors than it said it would; {outline.format} was removed")
    return header


def _sha256(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise BadInputError(f"{one_line(path)} does not exist; give the path of an importance matrix") from None
    except OSError as error:
        raise BadInputError(f"{one_line(path)} cannot be read: {error.strerror}") from None
