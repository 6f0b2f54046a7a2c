-- Predicted and measured memory by device
-- Loads of each variant on each device: what was planned, what llama.cpp took, how far off, and the driver's own.
-- param: model text = null  only models whose name contains this
-- param: device text = null  only this device: CPU, CUDA0, RPC0
SELECT
    model_name,
    variant,
    device,
    device_description,
    driver_version,
    count(*) AS loads,
    count(error_bytes) AS compared,
    avg(predicted_total_bytes) FILTER (error_bytes IS NOT NULL) / 1048576 AS predicted_mib,
    avg(measured_total_bytes) FILTER (error_bytes IS NOT NULL) / 1048576 AS measured_mib,
    avg(error_bytes) / 1048576 AS error_mib,
    avg(error_pct) AS error_pct,
    arg_max(error_bytes, abs(error_bytes)) / 1048576 AS worst_error_mib,
    median(overhead_bytes) / 1048576 AS overhead_mib
FROM ledger
WHERE ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
    AND ($device::VARCHAR IS NULL OR device = $device::VARCHAR)
GROUP BY ALL
ORDER BY model_name, device, device_description, driver_version, variant
