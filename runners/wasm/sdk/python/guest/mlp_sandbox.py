"""What a transform finds in place of the outside world."""

import builtins
import io
import os
import random
import sys
import time

MAX_LINES = 200
MAX_CHARS = 2000


class NotInTheSandbox(RuntimeError):
    """A transform reached for something outside its arguments."""


class Printed(io.TextIOBase):
    """Keeps what the transform prints, for mlp to show."""

    def __init__(self):
        self.lines = []
        self.rest = ""

    def writable(self):
        return True

    def write(self, text):
        *lines, rest = (self.rest + text).split("\n")
        self.lines.extend(line[:MAX_CHARS] for line in lines[: MAX_LINES - len(self.lines)])
        self.rest = rest[:MAX_CHARS]
        return len(text)

    def take(self):
        lines = self.lines + [self.rest] if self.rest else list(self.lines)
        self.lines.clear()
        self.rest = ""
        return [line.encode(errors="replace").decode() for line in lines]


def close():
    """Makes what a transform must not do an error that says so; without this it would be a trap without words."""

    def refuse(what):
        def refused(*_args, **_kwargs):
            raise NotInTheSandbox(f"a transform has no {what}: its result depends on its columns and parameters alone")

        return refused

    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "sleep"):
        setattr(time, name, refuse("clock"))
    for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "listdir"), (os, "scandir"), (os, "stat")):
        setattr(module, name, refuse("files"))
    builtins.input = refuse("terminal")
    os.urandom = random._urandom = refuse("randomness")
    seed = random.Random.seed
    random.Random.seed = lambda self, a=None, version=2: seed(self, 0 if a is None else a, version)
    random.seed(0)


def forget_other_packages(*own_files):
    """Leaves the standard library and what stands beside ``own_files``: the environment of the machine that builds a
    component must not decide what is in it."""
    own = [os.path.dirname(file) for file in own_files]
    own.append(os.path.dirname(own[-1]))
    sys.path[:] = [path for path in sys.path if path in own or path.startswith("/python") or path in ("/world", "/bundled")]
