"""Functions of another package than the tests' own, as a library has them."""

# ruff: noqa: PTH107, PTH123, PTH208 - calls as a library has them

import datetime
import os
import random
import socket
import subprocess
import threading
import time
import uuid


def read(path):
    with open(path) as file:
        return file.read()


def listed(path):
    return os.listdir(path)


def removed(path):
    os.remove(path)


def connected():
    return socket.socket()


def started():
    return subprocess.run(["true"], check=False)


def beside():
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()


def asleep():
    time.sleep(0)


def clock():
    return time.time()


def today():
    return datetime.datetime.now(datetime.UTC)


def drawn():
    return random.random()


def chosen():
    return random.choice("ab")


def seeded_by_chance():
    return random.Random()


def unique():
    return str(uuid.uuid4())


def urandom():
    return os.urandom(1)


def environment():
    return os.environ.get("HOME")


OPENS = [read, listed, removed, connected, started]
ASKS = [beside, asleep, clock, today, drawn, chosen, seeded_by_chance, unique, urandom, environment]
