-- Recent sessions
-- One row for each time gemtop ran, the newest first, with what ran and how it ended.
-- param: n integer = 20  how many sessions
WITH latest AS (
    SELECT session_id, started_at, duration_s, command, status FROM sessions ORDER BY started_at DESC LIMIT $n
),
ran AS (
    SELECT
        session_id,
        count(*) AS runs,
        string_agg(DISTINCT model_name || ' ' || variant, ', ' ORDER BY model_name || ' ' || variant) AS models,
        sum(generated_tokens)::BIGINT AS generated_tokens,
        max(decode_tokens_per_s) AS best_decode_tokens_per_s
    FROM runs
    WHERE session_id IN (SELECT session_id FROM latest)
    GROUP BY session_id
)
SELECT
    s.session_id,
    s.started_at,
    s.duration_s,
    s.command,
    coalesce(s.status::VARCHAR, 'live') AS status,
    coalesce(r.runs, 0) AS runs,
    r.models,
    coalesce(r.generated_tokens, 0) AS generated_tokens,
    r.best_decode_tokens_per_s
FROM latest AS s LEFT JOIN ran AS r USING (session_id)
ORDER BY s.started_at DESC
