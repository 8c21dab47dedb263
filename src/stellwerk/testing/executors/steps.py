"""The steps that executors are tested with. They are loaded from a file, as a user's would be."""

STEPS = '''
import os
import pathlib
import random
import subprocess
import sys
import time

from stellwerk.pipelines.authoring import step


@step
def double(number: int):
    return 2 * number


@step
def scale(number: float):
    return type(number).__name__


@step
def fails(number: int):
    return inner(number)


def inner(number):
    raise LookupError(f"no flight {number}")


@step
def leaves():
    sys.exit(3)


@step
def hangs(mark: str):
    """Has a pipe open for as long as it lives."""
    print("it hangs", flush=True)
    with open(mark):
        while True:
            time.sleep(60)  # until it is stopped, which is what is tested


@step
def clings(mark: str, alone: bool):
    """Ignores the request to end, and starts a child that does, too; all of them have a pipe open."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    alone or os.fork()
    print("it clings", flush=True)
    with open(mark):
        while True:
            time.sleep(60)  # until it is stopped, which is what is tested


@step
def starts():
    return subprocess.run(["true"]).returncode


@step
def eats():
    return len(bytearray(1 << 34))


@step
def dies():
    os.kill(os.getpid(), 9)


@step
def crashes():
    import ctypes

    ctypes.string_at(0)


@step
def ends():
    os._exit(7)


@step
def strange():
    return object()


@step
def prints():
    print("to standard output")
    print("to standard error", file=sys.stderr)
    return 1


@step
def chatters():
    for number in range(60_000):
        print(f"{number:>99}")
    print("the end")


@step
def frame(rows: int):
    import polars

    return polars.DataFrame({"row": range(rows)}).with_columns(half=polars.col("row") / 2)


@step
def total(table):
    return int(table["row"].sum())


@step(seeds=3)
def draws(seed: int):
    import numpy

    return [seed, random.random(), float(numpy.random.random())]


@step(outputs=("train", "gate"))
def parts(size: int):
    return {"train": list(range(size)), "gate": b"gate"}


@step(outputs=("train", "gate"))
def mistaken():
    return {"train": 1, "test": 2}


@step
def joins(tables: list):
    return [len(table) for table in tables]


@step
def lines(file):
    return [file.name, file.read_text().splitlines()]


@step
def nothing(seed=None):
    return None


@step
def waits(gate: str):
    """Ends when somebody has written to a pipe, and has closed it."""
    return pathlib.Path(gate).read_text()


@step
def random_numbers():
    import numpy

    return [random.random(), float(numpy.random.random())]


@step
def where():
    return os.getcwd(), os.environ.get("CONTRACT_TEST", "")
'''
