"""What counts as a failure of the machine, and what as a fault of the data."""

import errno
import os

import pyarrow
import pytest

from asr_kd.core.errors import is_system_error
from asr_kd.core.retries import MissingError, StorageError


@pytest.mark.parametrize("number", ["EMFILE", "ENFILE", "EIO", "ENOMEM", "ESTALE", "ENOSPC", "EACCES", "ENOTCONN"])
def test_a_failing_machine_is_an_error_of_the_system(number):
    assert is_system_error(OSError(getattr(errno, number), os.strerror(getattr(errno, number)), "a.wav"))


def test_memory_and_stores_are_of_the_system_wherever_the_error_began():
    assert is_system_error(MemoryError())
    assert is_system_error(pyarrow.ArrowMemoryError("malloc of size 64 failed"))
    assert is_system_error(StorageError("s3://b/x: HTTP 503"))
    wrapped = ValueError("a.parquet: not readable")
    wrapped.__cause__ = OSError(errno.EIO, "Input/output error")
    assert is_system_error(wrapped)


def test_faults_of_the_data_are_not(tmp_path):
    (tmp_path / "there").touch()
    for path in (tmp_path / "missing.wav", tmp_path / "no" / "folder.wav", tmp_path, tmp_path / "there" / "x"):
        with pytest.raises(OSError) as error:
            path.read_bytes()
        assert not is_system_error(error.value)
    assert not is_system_error(ValueError("not audio"))
    assert not is_system_error(OSError("Couldn't deserialize thrift"))  # as Arrow says of a damaged file
    assert not is_system_error(MissingError("s3://b/x: no such object"))


def test_a_file_below_an_empty_folder_is_missing_because_its_mount_is_away(tmp_path):
    for name in ("a.wav", "speaker/a.wav"):
        with pytest.raises(FileNotFoundError) as error:
            (tmp_path / name).read_bytes()
        assert is_system_error(error.value)
