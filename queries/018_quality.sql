-- Quality of variants
-- What each variant of a comparison keeps of its reference: perplexity, KL divergence and the share of same top tokens on a text, with standard errors, and right answers to the prompts; the newest comparison first.
-- param: model text = null  only models whose name contains this
WITH answered AS (
    SELECT comparison_id, label, 100 * avg(passed::INTEGER) AS tasks_right_pct, count(passed) AS tasks_checked
    FROM tasks
    WHERE repeat = 0
    GROUP BY ALL
)
SELECT
    comparison_id,
    label,
    model_name,
    variant,
    training,
    coalesce(reference_label, 'itself') AS reference,
    corpus,
    n_tokens,
    perplexity,
    perplexity_error,
    kl_mean,
    kl_mean_error,
    kl_p99,
    100 * top1_agreement AS same_top_pct,
    tasks_right_pct,
    tasks_checked
FROM fidelity LEFT JOIN answered USING (comparison_id, label)
WHERE $model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR))
ORDER BY comparison_id DESC, kl_mean NULLS FIRST, label
