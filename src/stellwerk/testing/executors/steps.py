"""The steps that executors are tested with. They are loaded from a file, as a user's would be."""

STEPS = '''
import os
import pathlib
import random
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
    pathlib.Path(mark).write_text(str(os.getpid()))
    while True:
        time.sleep(60)  # until it is stopped, which is what is tested


@step
def clings(mark: str):
    """Ignores the request to end, and starts a child that does, too."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child:
        pathlib.Path(mark).write_text(str(child))
    while True:
        time.sleep(60)  # until it is stopped, which is what is tested


@step
def eats():
    return len(bytearray(1 << 34))


@step
def dies():
    os.kill(os.getpid(), 9)


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
    """Ends when somebody writes to a pipe."""
    return pathlib.Path(gate).read_text()


@step
def meets(folder: str, name: str, count: int):
    """Comes, waits until so many have come, and says how many were here at the same time."""
    place = pathlib.Path(folder)
    (place / f"here-{name}").touch()
    (place / f"came-{name}").touch()
    while len(list(place.glob("came-*"))) < count:
        time.sleep(0.001)
    here = len(list(place.glob("here-*")))
    (place / f"here-{name}").unlink()
    return here


@step
def random_numbers():
    import numpy

    return [random.random(), float(numpy.random.random())]


@step
def where():
    return os.getcwd(), os.environ.get("CONTRACT_TEST", "")
'''
