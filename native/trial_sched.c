/* trial_sched.c: see trial.h: what this kernel lets a scheduler of processes do. */
#include "cpu_hand.h"
#include "cpu_watch.h"
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEEN_WITHIN_MS 1000

int xp_dispatch_trial(const char *name)
{
    const struct xp_hand *hand = xp_hand_named(name);
    return hand == NULL ? -XEN_EINVAL : hand->allowed();
}

/* A process that sleeps until its pipe is written to or closed, and then until it is closed. */
static pid_t sleeper(const int pipe_fd[2])
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char byte;
    close(pipe_fd[1]);
    while (read(pipe_fd[0], &byte, 1) > 0)
        ;
    _exit(0);
}

/* Armed while it sleeps, is its wake-up seen? */
static int see_waking(pid_t pid, int wake_fd, int epoll_fd)
{
    struct xp_classed process;
    struct xp_watches watches = {0};
    struct epoll_event event;
    int ret = xp_class_open(&process, pid, -1);
    if (ret == 0)
        ret = xp_watch_arm(&watches, &process, epoll_fd, 0);
    if (ret == 0 && write(wake_fd, "", 1) != 1)
        ret = -errno;
    if (ret == 0 && epoll_wait(epoll_fd, &event, 1, SEEN_WITHIN_MS) != 1)
        ret = -ETIME;
    xp_watch_close(&watches);
    xp_class_close(&process);
    return ret;
}

int xp_watch_trial(void)
{
    int pipe_fd[2], epoll_fd = epoll_create1(EPOLL_CLOEXEC), ret;
    if (epoll_fd < 0 || pipe2(pipe_fd, O_CLOEXEC) != 0) {
        ret = -errno;
        if (epoll_fd >= 0)
            close(epoll_fd);
        return ret;
    }
    pid_t pid = sleeper(pipe_fd);
    ret = pid < 0 ? -errno : see_waking(pid, pipe_fd[1], epoll_fd);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    close(epoll_fd);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return ret;
}
