-- What it cost in electricity
-- Energy and its price by model and machine: all runs for what was spent, valid ones alone for the price of a million generated tokens. It is the energy of the devices with the model, not of the whole machine.
-- param: price number = 0.30  price of a kilowatt-hour, in your currency
-- param: model text = null  only models whose name contains this
SELECT
    model_name,
    variant,
    coalesce(gpu_name, host) AS machine,
    count(*) AS runs,
    sum(prompt_tokens)::BIGINT AS prompt_tokens,
    sum(generated_tokens)::BIGINT AS generated_tokens,
    sum(energy_j) / 3.6e6 AS energy_kwh,
    sum(energy_j) / 3.6e6 * $price::DOUBLE AS spent,
    count(decode_j_per_token) FILTER (valid IS NOT FALSE) AS n,
    1e6 * avg(decode_j_per_token) FILTER (valid IS NOT FALSE) / 3.6e6 * $price::DOUBLE AS per_million_tokens,
    1e6 * avg(decode_j_per_token_error) FILTER (valid IS NOT FALSE) / 3.6e6 * $price::DOUBLE AS per_million_error,
    1e6 * avg(decode_net_j_per_token) FILTER (valid IS NOT FALSE) / 3.6e6 * $price::DOUBLE AS per_million_net
FROM runs
WHERE energy_j IS NOT NULL
    AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
GROUP BY ALL
ORDER BY spent DESC, model_name, variant, machine
