/* The part of nvml_stub.c that answers what is sampled; that file includes this one. */

/* ---- what is sampled ---- */

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t card, uint *milliwatts)
{
    PASS(card, "power");
    *milliwatts = or_na(card, "power", (uint)(power_w(card->model, now_s()) * 1e3));
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t card, ull *millijoules)
{
    PASS(card, "energy");
    char reset[32];
    const Model *m = card->model;
    double t = now_s(), step = m->energy_step_s, from = 0.0;
    if (option("energy_reset", reset, sizeof reset) && t >= atof(reset)) from = atof(reset);
    t = fmax(floor(t / step) * step, from);
    *millijoules = (ull)((energy_j(m, t) - energy_j(m, from)) * 1e3);
    if (listed("na", card, "energy")) *millijoules = ~0ULL;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t card, nvmlUtilization_t *rates)
{
    PASS(card, "utilization");
    if (cut(card)) return NOT_SUPPORTED;
    rates->gpu = (uint)fmod(floor(now_s() * 10) + 30 * card->index, 101);
    rates->memory = rates->gpu / 2;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t card, nvmlMemory_t *memory)
{
    PASS(card, "memory");
    const Model *m = card->model;
    memory->total = m->total_mib * MIB;
    memory->used = used_bytes(m, now_s()) + m->reserved_mib * MIB;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t card, nvmlMemory_v2_t *memory)
{
    PASS(card, "memory_v2");
    PASS(card, "memory");
    const Model *m = card->model;
    if (memory->version != MEMORY_V2) return ARGUMENT_VERSION_MISMATCH;
    memory->total = m->total_mib * MIB;
    memory->reserved = m->reserved_mib * MIB;
    memory->used = used_bytes(m, now_s());
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

static uint temperature_c(const Card *card)
{
    return card->model->temperature_c + (uint)fmod(floor(now_s() / 2), 20);
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t card, uint sensor, uint *celsius)
{
    PASS(card, "temperature_v1");
    PASS(card, "temperature");
    if (sensor != 0) return INVALID_ARGUMENT;
    *celsius = or_na(card, "temperature", temperature_c(card));
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t card, nvmlTemperature_t *reading)
{
    PASS(card, "temperature");
    if (reading->version != TEMPERATURE_V1) return ARGUMENT_VERSION_MISMATCH;
    if (reading->sensor != 0) return INVALID_ARGUMENT;
    reading->temperature = (int)temperature_c(card);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t card, uint type, uint *mhz)
{
    const char *field = type == 1 ? "clock_sm" : type == 2 ? "clock_mem" : "clock_other";
    PASS(card, field);
    if (type == 1) *mhz = card->model->clock_sm_mhz - 15 * (uint)fmod(floor(now_s()), 10);
    else if (type == 2) *mhz = card->model->clock_mem_mhz;
    else return INVALID_ARGUMENT;
    *mhz = or_na(card, field, *mhz);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t card, int count, nvmlFieldValue_t *values)
{
    PASS(card, "field_values");
    const Model *m = card->model;
    double t = now_s();
    for (int i = 0; i < count; i++) {
        nvmlFieldValue_t *at = &values[i];
        if (at->fieldId != POWER_AVERAGE && at->fieldId != POWER_INSTANT) {
            at->nvmlReturn = INVALID_ARGUMENT;
            continue;
        }
        int average = at->fieldId == POWER_AVERAGE;
        const char *field = average ? "power_average" : "power_instant";
        double watts = average ? energy_j(m, t) - energy_j(m, t - 1) : power_w(m, t);
        at->nvmlReturn = gate(card, field);
        at->valueType = VALUE_UINT;
        at->value.ui = or_na(card, field, (uint)(watts * 1e3));
        if (listed("nan", card, field)) {
            at->valueType = VALUE_DOUBLE;
            at->value.d = NAN;
        }
    }
    return SUCCESS;
}

/* `throttle=CARD:MASK[@FROM[-UNTIL]],...` */
static ull throttle_mask(const Card *card)
{
    char list[512], *rest = list, *item;
    ull mask = 0;
    double t = now_s();
    if (!option("throttle", list, sizeof list)) return 0;
    while ((item = item_of(card, &rest))) {
        char *end;
        double from = -INFINITY, until = INFINITY;
        ull bits = strtoull(item, &end, 0);
        if (*end == '@') sscanf(end + 1, "%lf-%lf", &from, &until);
        if (t >= from && t < until) mask |= bits;
    }
    return mask;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t card, ull *mask)
{
    PASS(card, "event_reasons");
    PASS(card, "throttle_reasons");
    *mask = throttle_mask(card);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t card, ull *mask)
{
    PASS(card, "throttle_reasons");
    *mask = throttle_mask(card);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t card, int *state)
{
    PASS(card, "pstate");
    *state = listed("na", card, "pstate") ? 32 : 2 * (int)fmod(floor(now_s()), 5);
    return SUCCESS;
}

/* ---- what is read slowly ---- */

nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t card, uint *percent)
{
    GIVE(card, "fan", percent, 30 + fmod(floor(now_s() / 2), 20));
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t card, uint *generation)
{
    GIVE(card, "pcie", generation, 1 + fmod(floor(now_s()), card->model->pcie_gen));
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t card, uint *width)
{
    GIVE(card, "pcie", width, card->model->pcie_width);
}

/* The real one measures for 20 ms. */
nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t card, uint counter, uint *kilobytes_per_s)
{
    uint into = 1000 * ((uint)fmod(floor(now_s()), 100) + 1) + card->index;
    sleep_s(0.02);
    if (counter > 1) return INVALID_ARGUMENT;
    GIVE(card, "pcie_throughput", kilobytes_per_s, counter == 1 ? into : into / 2);
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t card, uint type, uint counter, ull *count)
{
    PASS(card, "ecc");
    if (type > 1 || counter != 0) return INVALID_ARGUMENT;
    *count = (ull)floor(now_s() / (type == 0 ? 10 : 1000));
    return SUCCESS;
}

/* `process=CARD:PID:MIB:KIND,...`; PID may be self, MIB na, KIND is C, G or C+G. */
static nvmlReturn_t processes(const Card *card, char kind, uint *count, nvmlProcessInfo_t *infos)
{
    char list[512], *rest = list, *item;
    uint found = 0, room = infos ? *count : 0;
    PASS(card, "processes");
    PASS(card, kind == 'C' ? "compute_processes" : "graphics_processes");
    if (!option("process", list, sizeof list)) list[0] = 0;
    while ((item = item_of(card, &rest))) {
        char *pid = strsep(&item, ":"), *mib = strsep(&item, ":");
        if (!mib || !item || !strchr(item, kind)) continue;
        if (found < room) {
            ull used = strcmp(mib, "na") ? strtoull(mib, NULL, 10) * MIB : ~0ULL;
            if (listed("na", card, "processes")) used = ~0ULL;
            uint id = strcmp(pid, "self") ? (uint)atoi(pid) : (uint)getpid();
            infos[found] = (nvmlProcessInfo_t){id, used, ~0U, ~0U};
        }
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t card, uint *count, nvmlProcessInfo_t *infos)
{
    PASS(card, "processes_v3");
    return processes(card, 'C', count, infos);
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t card, uint *count, nvmlProcessInfo_t *infos)
{
    return processes(card, 'C', count, infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t card, uint *count, nvmlProcessInfo_t *infos)
{
    PASS(card, "processes_v3");
    return processes(card, 'G', count, infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice_t card, uint *count, nvmlProcessInfo_t *infos)
{
    return processes(card, 'G', count, infos);
}
