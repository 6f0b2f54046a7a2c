/* Put before llama.cpp by LD_PRELOAD: opening a file whose name holds "poison" with fopen, as ggml's reader does and
 * Python does not, raises SIGILL. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

FILE *fopen(const char *path, const char *mode) {
    FILE *(*next)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
    if (strstr(path, "poison")) raise(SIGILL);
    return next(path, mode);
}
