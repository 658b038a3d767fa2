"""A process that has imported all that `payments …` may need, and runs each command in a fork.

To start Python and import everything costs more CPU than most commands do. A fork is a process of
its own all the same: it has the environment, the output and the exit code of one command.

The process is started with the path of its socket, and ends when its stdin does. A client sends the
words, the environment and the limit of open files of a command, with the files for its output, and
gets its process id and its exit code.
"""

import gc
import importlib
import json
import os
import pkgutil
import random
import resource
import runpy
import select
import socket
import sys
import time

import payments
import webhooks

MAX_REQUEST_BYTES = 1 << 20
WITHOUT = ("payments.cli.__main__", "payments.infra.embedded_postgres_supervisor")  # programs


def import_everything() -> None:
    """Import every module of ours, and keep what is then there out of garbage collection."""
    for package in (payments, webhooks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name not in WITHOUT:
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def serve(path: str) -> None:
    """Run the commands of clients, each in a process of its own, until stdin ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        running = 0
        print("ready", flush=True)  # noqa: T201 - to whoever started this
        while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
            while running and os.waitpid(-1, os.WNOHANG) != (0, 0):
                running -= 1
            client, _ = listener.accept()
            running += 1
            with client:
                if os.fork() == 0:
                    listener.close()
                    answer(client)
                    os._exit(0)
        for _ in range(running):
            os.wait()


def answer(client: socket.socket) -> None:
    """Run the command a client asks for. Send its process id, and its exit code at its end."""
    request, files, *_ = socket.recv_fds(client, MAX_REQUEST_BYTES, 2)
    size, _, body = request.partition(b"\n")
    while len(body) < int(size):
        body += client.recv(MAX_REQUEST_BYTES)
    command = os.fork()
    if command == 0:
        client.close()
        run(json.loads(body), files)
    client.sendall(b"%d\n" % command)
    _, status = os.waitpid(command, 0)
    client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def run(asked: dict[str, object], files: list[int]) -> None:
    """Become the command, in a process group of its own, and exit as it does."""
    words, environment, max_files = asked["words"], asked["environment"], asked["max_files"]
    assert isinstance(asked["program"], str)
    assert isinstance(words, list)
    assert isinstance(environment, dict)
    os.setsid()
    if isinstance(max_files, int):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, *files)):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    random.seed()
    sys.argv = ["payments", *words]
    runpy.run_module(asked["program"], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    import_everything()
    serve(sys.argv[1])
