"""Files that are whole or absent, and whose content is what was written.

Text and arrays take their name only when they are complete. Archives of arrays
carry a checksum, so that what was damaged or altered is refused.
"""

import contextlib
import hashlib
import json
import os
import zipfile

import numpy as np

FORMAT = 2


class NotARunError(ValueError):
    """A file that is not what a run wrote."""


@contextlib.contextmanager
def open_atomically(path, mode="w"):
    """A file that takes its name only when it is complete; after an error nothing has changed."""
    path = os.fspath(path)
    part = f"{path}.part{os.getpid()}"  # no two processes write to the same one
    try:
        with open(part, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def write_json(path, values):
    """Write plain values as JSON, atomically."""
    with open_atomically(path) as file:
        file.write(json.dumps(values, indent=2) + "\n")


def remove_parts(folder, names):
    """Remove what killed processes left of their attempts to write files of these `names` in `folder` (a Path)."""
    for part in folder.iterdir():
        name, _, number = part.name.rpartition(".part")
        if number.isdigit() and name in names:
            part.unlink()


def write_arrays(path, arrays):
    """Write named arrays to an npz file with their checksum, atomically; the same arrays make the same bytes."""
    arrays = {"format": np.array(FORMAT), **{name: np.asarray(array) for name, array in arrays.items()}}
    with open_atomically(path, "wb") as file:
        np.savez(file, sha256=checksum(arrays), **arrays)


def read_arrays(path):
    """The named arrays of an npz file, all of them. Raises OSError; NotARunError where it is none of ours."""
    with open(path, "rb") as file:
        try:
            return _unpack(file)
        except Exception as error:  # damage shows in many ways: zlib, zip, struct, tokenize, memory
            reason = error if isinstance(error, NotARunError) else "it is damaged"
            raise NotARunError(f"{os.fspath(path)} is not a file that simsim wrote: {reason}") from None


def checksum(arrays):
    """The SHA-256 of named arrays: of their names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _unpack(file):
    """The arrays of an open npz file whose checksum is right."""
    if not zipfile.is_zipfile(file):
        raise NotARunError("it is no npz archive")
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > file.seek(0, os.SEEK_END):  # simsim does not compress
        raise NotARunError(f"it would unpack to {unpacked} bytes, more than it has")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if "format" not in arrays or not np.array_equal(arrays["format"], FORMAT):
        raise NotARunError(f"its `format` is not {FORMAT}: it is of another version, or of another program")
    if str(arrays.pop("sha256", "")) != checksum(arrays):
        raise NotARunError("its checksum is wrong: it was altered")
    return arrays
