/* Records what a process does to the files below POWER_ROOT, in order, into POWER_LOG.
 *
 * Loaded by LD_PRELOAD. Every call is made as it is and then written down: what was created,
 * written, cut, renamed, removed, and from where to where each fsync reached. replay.py makes of it
 * the disk as a power cut would have left it at any moment. A record is appended by one write, so
 * that several processes share one log, and a log's size is a moment: whoever was told something
 * when the log had n bytes must find it on every disk that is replayed from n bytes or more.
 *
 * Not seen: mmap (SQLite's -shm, which is made anew), sendfile, copy_file_range, io_uring.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, CUT, SYNC_BEGUN, SYNCED, RENAME, UNLINK, MKDIR, RMDIR, LINK, SYNC_FOLDER };
#define FDS 65536

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_mkdirat)(int, const char *, mode_t);
static int (*real_linkat)(int, const char *, int, const char *, int);

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_size;
static int log_fd = -1;
/* A child between vfork and exec shares our memory: what it closes is not ours. */
static pid_t owner;
static ino_t inode[FDS];

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_close = dlsym(RTLD_NEXT, "close");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_renameat = dlsym(RTLD_NEXT, "renameat");
    real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
    real_mkdirat = dlsym(RTLD_NEXT, "mkdirat");
    real_linkat = dlsym(RTLD_NEXT, "linkat");
    const char *where = getenv("POWER_ROOT"), *log = getenv("POWER_LOG");
    if (where == NULL || log == NULL) return;
    snprintf(root, sizeof root, "%s", where);
    root_size = strlen(root);
    log_fd = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    owner = getpid();
}

static int recording(void) { return log_fd >= 0 && getpid() == owner; }

static int below_root(const char *path) {
    return strncmp(path, root, root_size) == 0 && (path[root_size] == '/' || !path[root_size]);
}

/* The absolute form of a path; false where it is not below the root. */
static int place(int folder, const char *path, char *out) {
    char link[64];
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return below_root(out);
    }
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t size = readlink(link, out, PATH_MAX - 2);
    if (size < 0) return 0;
    snprintf(out + size, PATH_MAX - size, "/%s", path);
    return below_root(out);
}

static void note(uint8_t kind, uint64_t a, uint64_t b, const char *one, const char *two,
                 const void *data, size_t size) {
    size_t first = one ? strlen(one) : 0, second = two ? strlen(two) : 0;
    size_t total = 4 + 1 + 8 + 8 + 2 + 2 + first + second + size;
    char *record = malloc(total), *at = record;
    if (record == NULL) abort();
    uint32_t length = (uint32_t)total;
    uint16_t firsts = (uint16_t)first, seconds = (uint16_t)second;
#define PUT(from, many) (memcpy(at, (from), (many)), at += (many))
    PUT(&length, 4); PUT(&kind, 1); PUT(&a, 8); PUT(&b, 8); PUT(&firsts, 2); PUT(&seconds, 2);
    if (first) PUT(one, first);
    if (second) PUT(two, second);
    if (size) PUT(data, size);
    if (real_write(log_fd, record, total) != (ssize_t)total) abort();
    free(record);
}

static ino_t number_of(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_ino : 0;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    if (!recording() || !place(folder, path, full)) return real_openat(folder, path, flags, mode);
    pthread_mutex_lock(&turn);
    int was_there = faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    int fd = real_openat(folder, path, flags, mode), error = errno;
    if (fd >= 0 && fd < FDS) {
        inode[fd] = number_of(fd);
        if (!was_there && (flags & O_CREAT)) note(CREATE, inode[fd], 0, full, NULL, NULL, 0);
        else if (flags & O_TRUNC) note(CUT, inode[fd], 0, NULL, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&turn);
    errno = error;
    return fd;
}

#define OPEN(name, params, folder)                                  \
    int name params {                                               \
        mode_t mode = 0;                                            \
        if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_list more;                                           \
            va_start(more, flags);                                  \
            mode = va_arg(more, mode_t);                            \
            va_end(more);                                           \
        }                                                           \
        return opened(folder, path, flags, mode);                   \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int dir, const char *path, int flags, ...), dir)
OPEN(openat64, (int dir, const char *path, int flags, ...), dir)
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }

static int known(int fd) { return fd >= 0 && fd < FDS && inode[fd] != 0 && recording(); }

int close(int fd) {
    if (known(fd)) inode[fd] = 0;
    return real_close(fd);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    if (!known(fd)) return real_pwrite(fd, data, size, at);
    pthread_mutex_lock(&turn);
    ssize_t done = real_pwrite(fd, data, size, at);
    int error = errno;
    if (done > 0) note(WRITE, inode[fd], at, NULL, NULL, data, done);
    pthread_mutex_unlock(&turn);
    errno = error;
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return pwrite64(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (!known(fd)) return real_write(fd, data, size);
    pthread_mutex_lock(&turn);
    ssize_t done = real_write(fd, data, size);
    int error = errno;
    /* Also with O_APPEND the position is behind what was written. */
    if (done > 0) note(WRITE, inode[fd], lseek(fd, 0, SEEK_CUR) - done, NULL, NULL, data, done);
    pthread_mutex_unlock(&turn);
    errno = error;
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!known(fd)) return real_writev(fd, parts, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (done < 0) return total ? total : done;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

int ftruncate64(int fd, off_t size) {
    if (!known(fd)) return real_ftruncate(fd, size);
    pthread_mutex_lock(&turn);
    int result = real_ftruncate(fd, size), error = errno;
    if (result == 0) note(CUT, inode[fd], size, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&turn);
    errno = error;
    return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int folder_synced(int fd) {
    char link[64], path[PATH_MAX];
    int result = real_fsync(fd), error = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (result == 0 && size > 0) {
        path[size] = 0;
        pthread_mutex_lock(&turn);
        note(SYNC_FOLDER, 0, 0, path, NULL, NULL, 0);
        pthread_mutex_unlock(&turn);
    }
    errno = error;
    return result;
}

static int synced(int fd, int (*real)(int)) {
    struct stat found;
    if (!known(fd)) return real(fd);
    if (fstat(fd, &found) == 0 && S_ISDIR(found.st_mode)) return folder_synced(fd);
#ifdef POWER_SKIP
    /* A deliberately broken build: whoever asks is told that it is on the disk. */
    return 0;
#endif
    uint64_t thread = ((uint64_t)owner << 32) | (uint32_t)syscall(SYS_gettid);
    pthread_mutex_lock(&turn);
    note(SYNC_BEGUN, inode[fd], thread, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&turn);
    int result = real(fd), error = errno;
    pthread_mutex_lock(&turn);
    if (result == 0) note(SYNCED, inode[fd], thread, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&turn);
    errno = error;
    return result;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

/* A call on names: make it, and note it where it went well. */
#define NAMED(call, kind, one, two, ours)             \
    do {                                              \
        if (!(ours)) return call;                     \
        pthread_mutex_lock(&turn);                    \
        int result = call, error = errno;             \
        if (result == 0) note(kind, 0, 0, one, two, NULL, 0); \
        pthread_mutex_unlock(&turn);                  \
        errno = error;                                \
        return result;                                \
    } while (0)

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    char one[PATH_MAX], two[PATH_MAX];
    int ours = recording() && place(from_dir, from, one) && place(to_dir, to, two);
    NAMED(real_renameat(from_dir, from, to_dir, to), RENAME, one, two, ours);
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int dir, const char *path, int flags) {
    char one[PATH_MAX];
    int ours = recording() && place(dir, path, one);
    NAMED(real_unlinkat(dir, path, flags), (flags & AT_REMOVEDIR) ? RMDIR : UNLINK, one, NULL, ours);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dir, const char *path, mode_t mode) {
    char one[PATH_MAX];
    int ours = recording() && place(dir, path, one);
    NAMED(real_mkdirat(dir, path, mode), MKDIR, one, NULL, ours);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char one[PATH_MAX], two[PATH_MAX];
    int ours = recording() && place(from_dir, from, one) && place(to_dir, to, two);
    NAMED(real_linkat(from_dir, from, to_dir, to, flags), LINK, one, two, ours);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
