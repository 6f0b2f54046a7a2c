/*
 * Answers as libnvidia-ml.so.1, so that the real nvidia-ml-py can be tested without a GPU.
 *
 * Every reading is a function of time that __init__.py repeats in Python. Time is CLOCK_MONOTONIC, the clock
 * of Python's monotonic_ns, unless NVML_STUB_NOW_NS sets it (read at every call); NVML_STUB_EPOCH_NS is
 * subtracted from it.
 *
 * NVML_STUB_SCENARIO, read at nvmlInit, is words apart by spaces; __init__.py describes them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int nvmlReturn_t;
typedef unsigned int uint;
typedef unsigned long long ull;

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    TIMEOUT = 10,
    FUNCTION_NOT_FOUND = 13,
    GPU_IS_LOST = 15,
    LIB_RM_VERSION_MISMATCH = 18,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999
};

enum { MAX_CARDS = 8, MEMORY_V2 = 0x02000028, TEMPERATURE_V1 = 0x0100000c };
static const double PI = 3.14159265358979323846;
static const ull MIB = 1024ULL * 1024ULL;

typedef struct {
    const char *name;
    double power_mean_w, power_swing_w, power_period_s; /* mean + swing * sin(2 pi t / period) */
    double energy_step_s;                               /* the counter moves on only this often */
    double power_limit_w;
    ull total_mib, reserved_mib, used_mib;
    uint clock_sm_mhz, clock_mem_mhz, temperature_c;
} Model;

static const Model MODELS[] = {
    {"Stub RTX 24G", 250.0, 150.0, 4.0, 0.02, 450.0, 24576, 400, 1024, 2500, 10500, 40},
    {"Stub T4 16G", 50.0, 15.0, 7.0, 0.1, 70.0, 16384, 250, 512, 1500, 5000, 55},
};

typedef struct {
    uint index;
    const Model *model;
} Card;
typedef Card *nvmlDevice_t;

/* Layouts of nvml.h. */
typedef struct { uint gpu, memory; } nvmlUtilization_t;
typedef struct { ull total, free, used; } nvmlMemory_t;
typedef struct { uint version; ull total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { uint version; uint sensor; int temperature; } nvmlTemperature_t;
typedef struct {
    char busIdLegacy[16];
    uint domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

static Card cards[MAX_CARDS];
static uint card_count;
static int initialised;
static char scenario[1024];

/* ---- time ---- */

static double now_s(void)
{
    const char *set = getenv("NVML_STUB_NOW_NS"), *epoch = getenv("NVML_STUB_EPOCH_NS");
    long long ns;
    if (set) {
        ns = atoll(set);
    } else {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    }
    return (double)(ns - (epoch ? atoll(epoch) : 0)) / 1e9;
}

static void sleep_s(double seconds)
{
    struct timespec span = {(time_t)seconds, (long)(fmod(seconds, 1.0) * 1e9)};
    nanosleep(&span, NULL);
}

/* ---- scenario ---- */

/* Copies what follows `word=` into value; returns whether the scenario has the word. */
static int option(const char *word, char *value, size_t size)
{
    size_t length = strlen(word);
    for (const char *at = scenario; *at;) {
        size_t span = strcspn(at, " ");
        if (span >= length && !strncmp(at, word, length) && (span == length || at[length] == '=')) {
            size_t count = span > length ? span - length - 1 : 0;
            if (count >= size) count = size - 1;
            memcpy(value, at + length + 1, count);
            value[count] = 0;
            return 1;
        }
        at += span;
        at += strspn(at, " ");
    }
    return 0;
}

static int has(const char *word)
{
    char unused[8];
    return option(word, unused, sizeof unused);
}

/* Whether the comma list after `word=` names the field, for every card (`power`) or this one (`1.power`). */
static int listed(const char *word, const Card *card, const char *field)
{
    char list[512], mine[64];
    if (!option(word, list, sizeof list)) return 0;
    snprintf(mine, sizeof mine, "%u.%s", card->index, field);
    for (char *rest = list, *item; (item = strsep(&rest, ","));)
        if (!strcmp(item, field) || !strcmp(item, mine)) return 1;
    return 0;
}

/* `lost=CARD`, `lost=CARD@FROM` or `lost=CARD@FROM-UNTIL`, in seconds of the stub's time. */
static int lost(const Card *card)
{
    char value[64];
    uint index;
    double from = -INFINITY, until = INFINITY, t = now_s();
    if (!option("lost", value, sizeof value)) return 0;
    if (sscanf(value, "%u@%lf-%lf", &index, &from, &until) < 1) return 0;
    return index == card->index && t >= from && t < until;
}

static const struct { const char *word; nvmlReturn_t code; } FIELD_FAILURES[] = {
    {"unsupported", NOT_SUPPORTED},
    {"denied", NO_PERMISSION},
    {"absent", FUNCTION_NOT_FOUND},
    {"timeout", TIMEOUT},
    {"unknown", UNKNOWN},
}, INIT_FAILURES[] = {
    {"no_driver", DRIVER_NOT_LOADED},
    {"mismatch", LIB_RM_VERSION_MISMATCH},
    {"no_permission", NO_PERMISSION},
};

/* What stands before every question to a card: the scenario may let it hang, fail or through. */
static nvmlReturn_t gate(const Card *card, const char *field)
{
    char seconds[32];
    if (!initialised) return UNINITIALIZED;
    if (card < cards || card >= cards + card_count) return INVALID_ARGUMENT;
    if (listed("hang", card, field)) sleep_s(option("hang_s", seconds, sizeof seconds) ? atof(seconds) : 2.0);
    if (lost(card)) return GPU_IS_LOST;
    for (size_t i = 0; i < sizeof FIELD_FAILURES / sizeof *FIELD_FAILURES; i++)
        if (listed(FIELD_FAILURES[i].word, card, field)) return FIELD_FAILURES[i].code;
    return SUCCESS;
}

#define PASS(card, field)                            \
    do {                                             \
        nvmlReturn_t refused = gate(card, field);    \
        if (refused != SUCCESS) return refused;      \
    } while (0)

/* `na=field`: the call succeeds and gives NVML_VALUE_NOT_AVAILABLE. */
static uint or_na(const Card *card, const char *field, uint value)
{
    return listed("na", card, field) ? ~0U : value;
}

static nvmlReturn_t text(char *to, uint size, const char *from)
{
    return snprintf(to, size, "%s", from) < (int)size ? SUCCESS : INSUFFICIENT_SIZE;
}

/* ---- the curves ---- */

static double power_w(const Model *m, double t)
{
    return m->power_mean_w + m->power_swing_w * sin(2 * PI * t / m->power_period_s);
}

static double energy_j(const Model *m, double t)
{
    double turn = 2 * PI / m->power_period_s;
    return m->power_mean_w * t + m->power_swing_w / turn * (1 - cos(turn * t));
}

static ull used_bytes(const Model *m, double t)
{
    return (m->used_mib + 64 * (ull)fmod(floor(t), 8)) * MIB;
}

/* ---- the system ---- */

nvmlReturn_t nvmlInitWithFlags(uint flags)
{
    const char *set = getenv("NVML_STUB_SCENARIO");
    char count[16];
    (void)flags;
    snprintf(scenario, sizeof scenario, "%s", set ? set : "ok");
    for (size_t i = 0; i < sizeof INIT_FAILURES / sizeof *INIT_FAILURES; i++)
        if (has(INIT_FAILURES[i].word)) return INIT_FAILURES[i].code;
    card_count = option("devices", count, sizeof count) ? (uint)atoi(count) : 2;
    if (card_count > MAX_CARDS) card_count = MAX_CARDS;
    for (uint i = 0; i < card_count; i++) cards[i] = (Card){i, &MODELS[i % 2]};
    initialised = 1;
    return SUCCESS;
}

nvmlReturn_t nvmlShutdown(void)
{
    if (!initialised) return UNINITIALIZED;
    initialised = 0;
    return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t code)
{
    static char answer[32];
    snprintf(answer, sizeof answer, "stub error %d", code);
    return answer;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, uint size)
{
    return initialised ? text(version, size, "570.00.stub") : UNINITIALIZED;
}

nvmlReturn_t nvmlDeviceGetCount_v2(uint *count)
{
    if (!initialised) return UNINITIALIZED;
    *count = card_count;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(uint index, nvmlDevice_t *device)
{
    if (index >= card_count) return INVALID_ARGUMENT;
    PASS(&cards[index], "handle");
    *device = &cards[index];
    return SUCCESS;
}

/* ---- what does not change ---- */

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t card, char *name, uint size)
{
    PASS(card, "name");
    return text(name, size, card->model->name);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t card, char *uuid, uint size)
{
    char own[64];
    PASS(card, "uuid");
    snprintf(own, sizeof own, "GPU-00000000-0000-0000-0000-%012u", card->index);
    return text(uuid, size, own);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t card, nvmlPciInfo_t *info)
{
    PASS(card, "pci");
    memset(info, 0, sizeof *info);
    info->bus = 0x1a + 0x10 * card->index;
    snprintf(info->busIdLegacy, sizeof info->busIdLegacy, "0000:%02X:00.0", info->bus);
    snprintf(info->busId, sizeof info->busId, "00000000:%02X:00.0", info->bus);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t card, uint *milliwatts)
{
    PASS(card, "power_limit");
    *milliwatts = or_na(card, "power_limit", (uint)(card->model->power_limit_w * 1e3));
    return SUCCESS;
}

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
    double step = card->model->energy_step_s;
    *millijoules = (ull)(energy_j(card->model, floor(now_s() / step) * step) * 1e3);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t card, nvmlUtilization_t *rates)
{
    PASS(card, "utilization");
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
