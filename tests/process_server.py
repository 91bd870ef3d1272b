"""Run by tests.processes as a process of its own: imports the service once, and forks for each process that is wanted.

A request on the socket that is its standard input is JSON, the arguments and the environment, and with it come three
file descriptors: the new process's output and errors, and one to which its id and, once it has ended, its exit code are
written, a line each. It ends when the socket does.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys

import service.cli
import service.link.routes  # noqa: F401 - what `serve` would import later

_LONGEST = 2**18  # bytes of a request


def fork_on_request() -> None:
    """Fork until the socket ends; returns in each process that is to run the command line."""
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    gc.collect()
    gc.freeze()  # or each child would touch, and so copy, all of it
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, _LONGEST, 3)
        if not request:
            sys.exit()
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    requests.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output, errors, status = descriptors
    child = os.fork()
    if child:
        os.write(status, b"%d\n" % child)
        _, ended = os.waitpid(child, 0)
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
        os._exit(0)
    os.close(status)
    arguments, environment = json.loads(request)
    become(arguments, environment, output, errors)


def become(arguments: list[str], environment: dict[str, str], output: int, errors: int) -> None:
    """Make this process what a start from the shell would have made it."""
    sys.argv[1:] = arguments
    os.environ.clear()
    os.environ.update(environment)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)


if __name__ == "__main__":
    fork_on_request()
    runpy.run_module("service", run_name="__main__", alter_sys=True)
