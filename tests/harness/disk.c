/* A disk that a test breaks: loaded before the C library, it stands before the calls that write and sync a file named
 * transactions.ndjson, and does what the files in the folder TEST_DISK say:
 *   hang-write, hang-sync   the call does not go on while the file is there
 *   fail-write, fail-sync   the call fails, for want of space and with a fault of the device
 * Each sync adds a byte to the file `syncs`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int is_log(int fd) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return strstr(name, "/transactions.ndjson") != NULL;
}

static void path_of(char *path, size_t size, const char *name) {
    const char *folder = getenv("TEST_DISK");
    snprintf(path, size, "%s/%s", folder ? folder : "", name);
}

static int is_told(const char *name) {
    char path[4096];
    path_of(path, sizeof path, name);
    return access(path, F_OK) == 0;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (is_log(fd)) {
        while (is_told("hang-write")) usleep(1000);
        if (is_told("fail-write")) {
            errno = ENOSPC;
            return -1;
        }
    }
    return syscall(SYS_write, fd, bytes, count);
}

int fdatasync(int fd) {
    if (is_log(fd)) {
        char path[4096];
        while (is_told("hang-sync")) usleep(1000);
        path_of(path, sizeof path, "syncs");
        int count = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (count >= 0) {
            syscall(SYS_write, count, ".", 1);
            close(count);
        }
        if (is_told("fail-sync")) {
            errno = EIO;
            return -1;
        }
    }
    return (int)syscall(SYS_fdatasync, fd);
}
