"""Proof by system calls that an answer waits for its sync, for ``web.py``.

The server is watched with strace while a lone client takes numbers: between the arrival of
each request and the departure of its 200 there must be a sync that began after the one and
ended before the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

CALLS: Final = "fsync,fdatasync,recvfrom,read,recvmsg,sendto,write,writev,sendmsg"
_LINE: Final = re.compile(r"(?:\[pid +)?(\d+)\]? +(.*)")
_SYNC: Final = re.compile(r"(?:fdatasync|fsync)\(")
_RESUMED: Final = re.compile(r"<\.\.\. (?:fdatasync|fsync) resumed>.*= 0")
_REQUEST: Final = re.compile(r'(?:recvfrom|read|recvmsg|recv).*"POST /')
_ANSWER: Final = re.compile(r'(?:sendto|write|writev|sendmsg)\(.*"HTTP/1\.1 200')


@attrs.define
class Proof:
    """What a trace shows."""

    answers: int = 0
    after_sync: int = 0
    syncs: int = 0


def proof_of(lines: Iterable[str]) -> Proof:
    """Read a trace of ``strace -f`` with one client: how many answers waited for a sync."""
    proof = Proof()
    running: set[str] = set()  # threads in a sync that began after the request
    synced = False
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        thread, call = match.groups()
        if _REQUEST.match(call) or ("resumed>" in call and '"POST /' in call):
            synced = False
            running.clear()
        elif _SYNC.match(call):
            if "unfinished" in call:
                running.add(thread)
            elif call.endswith("= 0"):
                proof.syncs += 1
                synced = True
        elif _RESUMED.match(call):
            proof.syncs += 1
            synced = synced or thread in running
        elif _ANSWER.match(call):
            proof.answers += 1
            proof.after_sync += synced
    return proof
