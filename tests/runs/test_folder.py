"""Output folders: locked, written to, used, created whole."""

import pytest

from empg_gym.errors import ConfigError, OutputExistsError
from empg_gym.runs.folder import check_writable, is_unused, new_folder, writing_to
from empg_gym.runs.lock import FolderLock


def test_a_lock_excludes_others_until_it_is_closed(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(OutputExistsError, match="another run is writing"):
        FolderLock(tmp_path)
    lock.close()
    FolderLock(tmp_path).close()
    assert not list(tmp_path.iterdir())


def test_errors_of_writing_are_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"run can't be written to: No space left on device; choose another folder"), writing_to("run"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("name", "reason"), [("file", "is a file"), ("file/run", "is a file"), ("n" * 300, "File name too long")])
def test_a_folder_that_cannot_be_created_is_found_without_creating_it(tmp_path, name, reason):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=reason):
        check_writable(tmp_path / name)
    check_writable(tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_an_unfinished_first_file_is_no_use_of_a_folder(tmp_path):
    assert is_unused(tmp_path / "missing") and is_unused(tmp_path)
    (tmp_path / ".config.json.12.34").touch()
    assert is_unused(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert not is_unused(tmp_path)


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "a" / "run") as folder:
        (folder / "file").touch()
        raise RuntimeError
    assert not list((tmp_path / "a").iterdir())
    with new_folder(tmp_path / "a" / "run") as folder:
        (folder / "file").touch()
        assert not (tmp_path / "a" / "run").exists()
    assert [path.name for path in (tmp_path / "a" / "run").iterdir()] == ["file"]
    with pytest.raises(OutputExistsError, match="not empty"), new_folder(tmp_path / "a" / "run"):
        pass


def test_the_working_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputExistsError, match="working folder"), new_folder(tmp_path):
        pass
