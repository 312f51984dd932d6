"""The rows of a sweep on disk: a file of JSON lines that only grows, written by one process.

A line is one row, under the key of its run; of two with one key the later counts. It ends with the CRC-32 of its text
before that, so that what a disk or a hand has changed is refused; lines of older versions have none, and are held to
what a row is. What is appended is flushed to the disk before anything else happens. A process killed meanwhile leaves
at worst a last line that is not whole, which is cut off when the file is opened again; its run is as good as never done.
"""

import json
import os
import re
import sys
import zlib

from simsim.files.archives import NotARunError, open_atomically
from simsim.sweeps import outcome

NAME = "rows.jsonl"
SEALED = re.compile(rb'(\{.*), "crc32": "([0-9a-f]{8})"\}')


def read(path):
    """(rows by key, bytes that count) of the file at `path` (a Path); none where it is missing. Raises NotARunError."""
    rows, good = {}, 0
    if not path.exists():
        return rows, good
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break  # it is not whole
            try:
                key, row = _parse(line[:-1])
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                if any(later.endswith(b"\n") for later in file):
                    raise NotARunError(f"line {number} of {path.name} is no row; it was damaged or altered, and without that "
                                       "line its run is computed again") from None
                break  # the last line: a disk that lost power may hold rubbish there
            rows[key] = row
            good += len(line)
    return rows, good


def _parse(line):
    """(key, row) of a line. ValueError, KeyError, TypeError, AttributeError or RecursionError where it is none."""
    sealed = SEALED.fullmatch(line)
    if sealed and zlib.crc32(sealed[1]) != int(sealed[2], 16):
        raise ValueError("it was damaged or altered")
    row = json.loads(sealed[1] + b"}" if sealed else line)
    key = row.pop("key")
    if not sealed:
        outcome.require(row)
    return str(key), {sys.intern(name): value for name, value in row.items()}  # a million rows share their names


class RowFile:
    """The file at `path`, open for appending behind its first `good` bytes; a context manager."""

    def __init__(self, path, good):
        self._file = open(path, "ab")
        if self._file.seek(0, os.SEEK_END) > good:
            self._file.truncate(good)
            os.fsync(self._file.fileno())

    def append(self, rows):
        """Write rows, a dict by key, and wait until the disk has them."""
        self._file.write(b"".join(map(_line, rows.items())))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def rewrite(path, rows):
    """Write a file of these rows, a dict by key, atomically."""
    with open_atomically(path, "wb") as file:
        file.write(b"".join(map(_line, rows.items())))


def _line(item):
    key, row = item
    text = json.dumps({"key": key, **row}, allow_nan=False).encode()[:-1]
    return text + b', "crc32": "%08x"}\n' % zlib.crc32(text)
