"""Migration 7, frozen: what texts and tasks told of a model's quality."""

from __future__ import annotations

_FIDELITY = {
    "comparison_id": ("VARCHAR NOT NULL", "The session that began the comparison"),
    "label": ("VARCHAR", "What the comparison calls the variant"),
    "model_name": ("VARCHAR", "Name in the file's metadata, else of the file"),
    "model_fingerprint": ("VARCHAR", "Identifies the file's content"),
    "quantization": ("VARCHAR", "llama.cpp's name of the format: Q4_0, Q4_K_M, Q8_0, F16, BF16"),
    "training": ("VARCHAR", "qat, ptq, none or unknown"),
    "variant": ("VARCHAR", "What people say: QAT Q4_0, PTQ Q4_K_M, FP16"),
    "llama_build": ("VARCHAR", "Version of llama.cpp"),
    "type_k": ("VARCHAR", "Type of the K cache"),
    "type_v": ("VARCHAR", "Type of the V cache"),
    "lora": ("VARCHAR", "LoRA adapters in force"),
    "corpus": ("VARCHAR", "Name of the text"),
    "corpus_sha256": ("VARCHAR", "SHA-256 of the text"),
    "n_ctx": ("BIGINT", "Tokens in a chunk of the text"),
    "n_chunks": ("BIGINT", "Chunks of the text"),
    "n_tokens": ("BIGINT", "Tokens whose prediction is counted"),
    "perplexity": ("DOUBLE", "e to the power of the mean negative log-likelihood, as llama-perplexity has it"),
    "perplexity_error": ("DOUBLE", "Its standard error"),
    "reference": ("VARCHAR", "What it was held against: baseline, or checkpoint for its own unquantised one; NULL for"
                  " the baseline itself"),
    "reference_label": ("VARCHAR", "What the comparison calls that variant"),
    "reference_fingerprint": ("VARCHAR", "Identifies that file's content"),
    "ln_perplexity_ratio": ("DOUBLE", "ln(perplexity / the reference's), token by token"),
    "ln_perplexity_ratio_error": ("DOUBLE", "Its standard error"),
    "kl_mean": ("DOUBLE", "Mean KL divergence from the reference, in nats"),
    "kl_mean_error": ("DOUBLE", "Its standard error"),
    "kl_median": ("DOUBLE", "Median KL divergence"),
    "kl_p90": ("DOUBLE", "90th percentile of the KL divergence"),
    "kl_p99": ("DOUBLE", "99th percentile of the KL divergence"),
    "kl_max": ("DOUBLE", "Largest KL divergence"),
    "top1_agreement": ("DOUBLE", "Share of tokens for which both hold the same token most likely"),
    "top1_agreement_error": ("DOUBLE", "Its standard error"),
    "probability_rms": ("DOUBLE", "Root mean square of the difference of the probabilities of the token that comes"),
    "reason": ("VARCHAR", "Why the figures against the reference are NULL"),
}  # fmt: skip
_TASKS = {
    "run_id": ("VARCHAR NOT NULL", "The run that answered"),
    "comparison_id": ("VARCHAR NOT NULL", "The session that began the comparison"),
    "label": ("VARCHAR", "What the comparison calls the variant"),
    "prompt_id": ("VARCHAR", "Which prompt of the set"),
    "prompt_kind": ("VARCHAR", "What it asks for: summarise, extract, code, reasoning, translate, long_context, other"),
    "repeat": ("BIGINT", "Which time it was asked, from 0"),
    "passed": ("BOOLEAN", "Whether the answer is right; NULL where it was not checked"),
    "reason": ("VARCHAR", "Why it is wrong, or was not checked"),
}
_SESSION = {"session_id": ("VARCHAR NOT NULL", "The session that measured it")}
_T_NS = {"t_ns": ("BIGINT NOT NULL", "Nanoseconds since the session began, on the monotonic clock")}
_T_S = "Seconds since the session began"


def _create(table: str, columns: dict[str, tuple[str, str]]) -> str:
    return f"CREATE TABLE store.{table} ({', '.join(f'{name} {kind}' for name, (kind, _) in columns.items())})"


STATEMENTS: tuple[str, ...] = (
    _create("fidelity", _SESSION | _T_NS | _FIDELITY),
    f"CREATE VIEW fidelity AS SELECT session_id, t_ns / 1e9 AS t_s, {', '.join(_FIDELITY)} FROM store.fidelity",
    _create("tasks", _TASKS),
    f"CREATE VIEW tasks AS SELECT {', '.join(_TASKS)} FROM store.tasks",
)


def _comments(target: str, columns: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {f"COLUMN {target}.{name}": text for name, (_, text) in columns.items()}


COMMENTS: dict[str, str] = {
    "TABLE store.fidelity": "One row for each text that a variant predicted, and each reference it was held against",
    **_comments("store.fidelity", _SESSION | _T_NS | _FIDELITY),
    "VIEW fidelity": "How well each variant predicted a text, alone and against a reference",
    **_comments("fidelity", _SESSION | _FIDELITY),
    "COLUMN fidelity.t_s": _T_S,
    "TABLE store.tasks": "One row for each prompt of a comparison that was answered",
    **_comments("store.tasks", _TASKS),
    "VIEW tasks": "Whether the answers to a comparison's prompts are right",
    **_comments("tasks", _TASKS),
}
