-- Throttling by hour of the day
-- For each hour by the clock here: how much of the time in which a card was computing it was throttled, for power or for heat, and how hot it was; all readings count, in valid runs or not.
-- param: days integer = 30  sessions of so many days before the last one; null for all
-- param: host text = null  only this machine
WITH chosen AS (
    SELECT session_id, host, epoch(started_at::TIMESTAMP)::BIGINT AS local_s
    FROM sessions
    WHERE ($host::VARCHAR IS NULL OR host = $host::VARCHAR)
        AND ($days::BIGINT IS NULL
            OR started_at >= (SELECT max(started_at) FROM sessions) - to_days($days::BIGINT::INTEGER))
),
readings AS (
    SELECT
        c.host,
        s.device,
        (c.local_s + s.t_s::BIGINT) // 3600 % 24 AS hour,
        -- Most readings have no reason: looking them up in a list is for those that do.
        CASE WHEN len(s.throttle_reasons) > 0 THEN s.throttle_reasons END AS reasons,
        s.temperature_c,
        s.power_w
    FROM samples AS s JOIN chosen AS c USING (session_id)
    WHERE s.gpu_util_pct > 0
        -- The file is ordered by session: what is older need not be read.
        AND s.session_id >= (SELECT min(session_id) FROM chosen)
),
judged AS (
    SELECT
        *,
        CASE WHEN reasons IS NULL THEN false
            ELSE list_has_any(reasons, ['SwPowerCap', 'HwPowerBrakeSlowdown']) END AS by_power,
        CASE WHEN reasons IS NULL THEN false
            ELSE list_has_any(reasons, ['SwThermalSlowdown', 'HwThermalSlowdown']) END AS by_heat,
        CASE WHEN reasons IS NULL THEN false ELSE list_contains(reasons, 'HwSlowdown') END AS by_either
    FROM readings
)
SELECT
    hour,
    host,
    device,
    count(*) AS readings,
    100 * avg((by_power OR by_heat OR by_either)::INTEGER) AS throttled_pct,
    100 * avg(by_power::INTEGER) AS power_pct,
    100 * avg(by_heat::INTEGER) AS thermal_pct,
    avg(temperature_c) AS temperature_c,
    max(temperature_c) AS hottest_c,
    avg(power_w) AS power_w
FROM judged
GROUP BY ALL
ORDER BY hour, host, device
