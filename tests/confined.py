"""A process that has locked itself down, and its server: for the tests of lock-down. The test is in the hypervisor's place."""

import json
import os
import socket

from xenproc.guest import lockdown


class Confined:
    """A locked-down process and its server; `result()` is what its work returned."""

    def __init__(self, work, plan=None, before=None):
        self.ours, theirs = socket.socketpair()
        self.server = os.fork()
        if self.server == 0:
            try:
                self._serve(work, plan or {}, before, theirs)
            finally:
                os._exit(0)
        theirs.close()
        self.lines = self.ours.makefile()
        self.pid = json.loads(self.lines.readline())

    def _serve(self, work, plan, before, sock):
        self.ours.close()
        ready = lockdown.prepare()
        ready.steps.parent = os.getpid()        # in real life the server's parent: here the server is the parent itself
        pid = os.fork()
        if pid:
            os._exit(0 if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 else 1)
        sock.send(b"%d\n" % os.getpid())
        try:
            if before is not None:
                before()
            fields = {"window_base": 0, "window_end": 0, "keep_fds": [0, 1, 2, sock.fileno()], "uid": None, **plan}
            report = lockdown.lockdown(lockdown.Plan(**fields), ready)
            answer = {"report": report, "result": work(sock)}
        except BaseException as error:
            answer = {"raised": f"{type(error).__name__}: {error}"}
        sock.send(json.dumps(answer).encode() + b"\n")
        os._exit(0)

    def answer(self):
        """What it said, and its end."""
        line = self.lines.readline()
        status = self.end()
        return json.loads(line) if line else {"died": status}

    def end(self):
        """Wait for its server's end."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.server, 0)[1])
        self.lines.close()
        self.ours.close()
        return status


def confined(work, before=None, **plan):
    answer = Confined(work, plan, before).answer()
    assert "result" in answer, answer
    return answer["result"]


def fails_with(call, *args):
    """The errno that a call fails with, 0 if it does not."""
    try:
        call(*args)
    except OSError as error:
        return error.errno
    return 0
