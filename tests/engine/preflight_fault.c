/* Put before llama.cpp by LD_PRELOAD: computing a graph raises a signal, as an instruction does that the CPU
 * lacks. FAULT_WHEN says when: "always", or "repacked" where the model asked for repacked CPU weights. Each
 * process that loads a model adds a line to the file FAULT_LOG. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int repacked, computed;

static void *real(const char *name) {
    void *base = dlopen("libggml-base.so.0", RTLD_NOW | RTLD_NOLOAD);
    void *function = base ? dlsym(base, name) : NULL;
    if (!function) _exit(98);
    return function;
}

static void note(const char *words) {
    const char *path = getenv("FAULT_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (fd < 0 || write(fd, words, strlen(words)) < 0) _exit(97);
    close(fd);
}

/* llama.cpp asks for this one where the model may use repacked weights, and only there. */
void *ggml_backend_reg_get_proc_address(void *registry, const char *name) {
    void *(*next)(void *, const char *) = real("ggml_backend_reg_get_proc_address");
    if (!strcmp(name, "ggml_backend_dev_get_extra_bufts")) repacked = 1;
    return next(registry, name);
}

int ggml_backend_sched_graph_compute_async(void *scheduler, void *graph) {
    int (*next)(void *, void *) = real("ggml_backend_sched_graph_compute_async");
    const char *when = getenv("FAULT_WHEN"), *number = getenv("FAULT_SIGNAL");
    if (!computed++) note(repacked ? "repacked\n" : "plain\n");
    if (when && (!strcmp(when, "always") || (!strcmp(when, "repacked") && repacked)))
        raise(number ? atoi(number) : SIGILL);
    return next(scheduler, graph);
}
