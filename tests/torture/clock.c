/* The clock of one run of the program, moved by LIFEBOAT_TORTURE_CLOCK seconds: preloaded, because nobody waits a day. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    const char *by = getenv("LIFEBOAT_TORTURE_CLOCK");
    if (result == 0 && id == CLOCK_REALTIME && by) now->tv_sec += atoll(by);
    return result;
}
