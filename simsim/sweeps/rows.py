"""The rows of a sweep on disk: a file of JSON lines that only grows, written by one process.

A line is one row, under the key of its run; of two with one key the later counts. What is appended is flushed to
the disk before anything else happens. A process killed meanwhile leaves at worst a line without its end, which is
cut off when the file is opened again; its run is as good as never done.
"""

import json
import os

from simsim.files import NotARunError, open_atomically

NAME = "rows.jsonl"


def read(path):
    """(rows by key, bytes that count) of the file at `path` (a Path); none where it is missing. Raises NotARunError."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[:content.rfind(b"\n") + 1]
    rows, good = {}, 0
    for number, line in enumerate(whole.splitlines(keepends=True), 1):
        try:
            row = json.loads(line)
            rows[row.pop("key")] = row
        except (ValueError, KeyError, TypeError, AttributeError):
            if good + len(line) < len(whole):
                raise NotARunError(f"line {number} of {path.name} is no row; it was damaged or altered") from None
            break  # the last line: a disk that lost power may hold rubbish there
        good += len(line)
    return rows, good


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
    return json.dumps({"key": key, **row}, allow_nan=False).encode() + b"\n"
