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
#include <unistd.h>

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
    NOT_FOUND = 6,
    FUNCTION_NOT_FOUND = 13,
    GPU_IS_LOST = 15,
    LIB_RM_VERSION_MISMATCH = 18,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999
};

enum { MAX_CARDS = 8, MEMORY_V2 = 0x02000028, TEMPERATURE_V1 = 0x0100000c };
enum { POWER_AVERAGE = 185, POWER_INSTANT = 186, VALUE_DOUBLE = 0, VALUE_UINT = 1 };
static const double PI = 3.14159265358979323846;
static const ull MIB = 1024ULL * 1024ULL;

typedef struct {
    const char *name;
    double power_mean_w, power_swing_w, power_period_s; /* mean + swing * sin(2 pi t / period) */
    double energy_step_s;                               /* the counter moves on only this often */
    double power_limit_w;
    ull total_mib, reserved_mib, used_mib;
    uint clock_sm_mhz, clock_mem_mhz, temperature_c;
    uint architecture;
    int compute_major, compute_minor;
    uint target_c, slowdown_c, shutdown_c;
    uint bus_bits, pcie_gen, pcie_width, ecc_on;
} Model;

static const Model MODELS[] = {
    {"Stub RTX 24G", 250.0, 150.0, 4.0, 0.02, 450.0, 24576, 400, 1024, 2500, 10500, 40,
     8, 8, 9, 84, 92, 97, 384, 4, 16, 0},
    {"Stub T4 16G", 50.0, 15.0, 7.0, 0.1, 70.0, 16384, 250, 512, 1500, 5000, 55,
     6, 7, 5, 82, 90, 95, 256, 3, 8, 1},
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
typedef struct { uint pid; ull usedGpuMemory; uint gpuInstanceId, computeInstanceId; } nvmlProcessInfo_t;
typedef struct {
    uint fieldId, scopeId;
    long long timestamp, latencyUsec;
    int valueType;
    nvmlReturn_t nvmlReturn;
    union { double d; uint ui; ull ull_; } value;
} nvmlFieldValue_t;

/* A handle is a place in the row of its generation: a reload of the driver makes those from before invalid. */
static Card all_cards[2][MAX_CARDS];
static Card *cards = all_cards[0];
static uint card_count;
static int initialised;
static double initialised_s;
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

/* Whether the comma list after `word=` names the field, for every card (`power`) or this one (`1.power`). Of no card
 * is what the library itself tells. */
static int listed(const char *word, const Card *card, const char *field)
{
    char list[512], mine[64];
    if (!option(word, list, sizeof list)) return 0;
    snprintf(mine, sizeof mine, "%u.%s", card ? card->index : 0, field);
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

/* `reload=FROM-UNTIL`: whether the driver is unloaded at t. */
static int unloaded(double t, double *until)
{
    char value[64];
    double from;
    return option("reload", value, sizeof value) && sscanf(value, "%lf-%lf", &from, until) == 2 && t >= from &&
           t < *until;
}

/* Whether the library must be initialised (again): a reload since the last time takes it down. */
static int down(void)
{
    char value[64];
    double from, until;
    if (!initialised) return 1;
    return option("reload", value, sizeof value) && sscanf(value, "%lf-%lf", &from, &until) == 2 && now_s() >= from &&
           initialised_s < until;
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
    if (down()) return UNINITIALIZED;
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

/* The next item of `word=ITEM,ITEM` that begins with this card's `INDEX:`, without that; NULL at the end. */
static char *item_of(const Card *card, char **rest)
{
    for (char *item; (item = strsep(rest, ","));) {
        char *end;
        unsigned long index = strtoul(item, &end, 10);
        if (end != item && *end == ':' && index == card->index) return end + 1;
    }
    return NULL;
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
    double until;
    if (unloaded(now_s(), &until)) return DRIVER_NOT_LOADED;
    if (down()) cards = all_cards[cards == all_cards[0]];
    card_count = option("devices", count, sizeof count) ? (uint)atoi(count) : 2;
    if (card_count > MAX_CARDS) card_count = MAX_CARDS;
    for (uint i = 0; i < card_count; i++) cards[i] = (Card){i, &MODELS[has("alike") ? 0 : i % 2]};
    initialised = 1;
    initialised_s = now_s();
    return SUCCESS;
}

nvmlReturn_t nvmlShutdown(void)
{
    if (down()) return UNINITIALIZED;
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
    if (down()) return UNINITIALIZED;
    return listed("absent", NULL, "driver_version") ? FUNCTION_NOT_FOUND : text(version, size, "570.00.stub");
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    if (down()) return UNINITIALIZED;
    if (listed("absent", NULL, "cuda_version")) return FUNCTION_NOT_FOUND;
    *version = 12080;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(uint *count)
{
    if (down()) return UNINITIALIZED;
    *count = card_count;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(uint index, nvmlDevice_t *device)
{
    if (down()) return UNINITIALIZED;
    if (index >= card_count) return INVALID_ARGUMENT;
    PASS(&cards[index], "handle");
    *device = &cards[index];
    return SUCCESS;
}

static void uuid_of(uint index, char *to, size_t size)
{
    snprintf(to, size, "GPU-00000000-0000-0000-0000-%012u", index);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    char own[64];
    if (down()) return UNINITIALIZED;
    for (uint i = 0; i < card_count; i++) {
        uuid_of(i, own, sizeof own);
        if (!strcmp(uuid, own)) return nvmlDeviceGetHandleByIndex_v2(i, device);
    }
    return NOT_FOUND;
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
    uuid_of(card->index, own, sizeof own);
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

/* A reading of one number that is the model's. */
#define GIVE(card, field, to, number)                   \
    do {                                                \
        PASS(card, field);                              \
        *(to) = or_na(card, field, (uint)(number));     \
        return SUCCESS;                                 \
    } while (0)

/* `arch=CARD:NUMBER:MAJOR.MINOR,...` */
static void architecture_of(const Card *card, uint *number, int *major, int *minor)
{
    char list[128], *rest = list, *item;
    *number = card->model->architecture;
    *major = card->model->compute_major;
    *minor = card->model->compute_minor;
    if (option("arch", list, sizeof list) && (item = item_of(card, &rest)))
        sscanf(item, "%u:%d.%d", number, major, minor);
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t card, uint *architecture)
{
    int major, minor;
    PASS(card, "architecture");
    architecture_of(card, architecture, &major, &minor);
    *architecture = or_na(card, "architecture", *architecture);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t card, int *major, int *minor)
{
    uint architecture;
    PASS(card, "compute_capability");
    architecture_of(card, &architecture, major, minor);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t card, uint type, uint *mhz)
{
    if (type == 1) GIVE(card, "clock_sm_max", mhz, card->model->clock_sm_mhz);
    if (type == 2) GIVE(card, "clock_mem_max", mhz, card->model->clock_mem_mhz);
    return INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t card, uint threshold, uint *celsius)
{
    if (threshold == 0) GIVE(card, "temperature_shutdown", celsius, card->model->shutdown_c);
    if (threshold == 1) GIVE(card, "temperature_slowdown", celsius, card->model->slowdown_c);
    if (threshold == 3) GIVE(card, "temperature_target", celsius, card->model->target_c);
    return INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetMemoryBusWidth(nvmlDevice_t card, uint *bits)
{
    GIVE(card, "bus_width", bits, card->model->bus_bits);
}

nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t card, uint *generation)
{
    GIVE(card, "pcie_max", generation, card->model->pcie_gen);
}

nvmlReturn_t nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t card, uint *width)
{
    GIVE(card, "pcie_max", width, card->model->pcie_width);
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t card, uint *current, uint *pending)
{
    *pending = 1;
    GIVE(card, "ecc_mode", current, card->model->ecc_on);
}

/* `mig=CARD` */
static int cut(const Card *card)
{
    char value[16];
    return option("mig", value, sizeof value) && (uint)atoi(value) == card->index;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t card, uint *current, uint *pending)
{
    *pending = 0;
    GIVE(card, "mig_mode", current, cut(card));
}

#include "nvml_stub_readings.c"
