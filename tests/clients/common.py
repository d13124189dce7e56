"""What the scripts of this folder share: the bytes that go both ways, and how a wrong answer is said.

A script is given one JSON object as its first argument (see `tests/clients.rs`), and ends with a traceback when
something is not as it should be. Not for: what is promised, which is in the scripts.
"""

import hashlib
import json
import sys

MIB = 1024 * 1024

# One MiB in which no short piece comes twice soon; every block begins with its number, so that lost, doubled and
# swapped blocks show in a checksum.
_NOISE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(MIB // 32))


def blocks(length):
    """That many bytes, in blocks of one MiB and a last one that may be shorter."""
    for number in range(-(-length // MIB)):
        block = number.to_bytes(8, "big") + _NOISE[8:]
        yield block[: length - number * MIB]


def some(length):
    """The same as one piece."""
    return b"".join(blocks(length))


def sha256_of(pieces):
    """The number of bytes, and their SHA-256 in hex."""
    count, digest = 0, hashlib.sha256()
    for piece in pieces:
        count += len(piece)
        digest.update(piece)
    return count, digest.hexdigest()


def given():
    """What this script was started with."""
    return json.loads(sys.argv[1])


def check(what, found, expected):
    """Both must be equal."""
    if found != expected:
        raise AssertionError(f"{what}: found {found!r:.2000}, expected {expected!r:.2000}")
