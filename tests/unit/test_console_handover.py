"""The one-time address gets to a browser in a file that no other user reads, makes before or leads elsewhere."""

from __future__ import annotations

import html
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.console.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "http://127.0.0.1:8765/?token=secret&b=\"'<x>"


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A mask of modes that a person may have set."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="on Windows the temporary folder belongs to the user alone")
def test_the_file_and_its_folder_are_for_their_user_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    assert not umask & 0o700
    with Handover(URL, str(tmp_path)) as page:
        assert stat.S_IMODE(page.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(page.path.parent.stat().st_mode) == 0o700
        assert page.path.stat().st_uid == os.getuid()


def test_the_file_leads_to_the_address_and_holds_it_as_text(tmp_path: Path) -> None:
    with Handover(URL, str(tmp_path)) as page:
        said = page.path.read_text(encoding="utf-8")
        assert f'http-equiv="refresh" content="0;url={html.escape(URL)}"' in said
        assert f'<a href="{html.escape(URL)}">' in said
        assert 'name="referrer" content="no-referrer"' in said
        assert "secret" not in page.uri
        assert page.uri.startswith("file:///")


def test_it_is_gone_after_its_end_and_after_it_was_used(tmp_path: Path) -> None:
    with Handover(URL, str(tmp_path)) as page:
        pass
    assert not list(tmp_path.iterdir())
    with Handover(URL, str(tmp_path)) as page:
        page.remove()
        assert not list(tmp_path.iterdir())
        page.remove()


def test_nothing_that_lies_there_already_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose name somebody guessed holds a link to a file of theirs: nothing is written, and it is said."""
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    guessed = tmp_path / "guessed"
    guessed.mkdir()
    (guessed / "console.html").symlink_to(victim)
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(guessed))
    with pytest.raises(FileExistsError):
        Handover(URL)
    assert victim.read_text() == "theirs"


def test_a_folder_that_exists_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link of the name that comes next is left alone: another name is tried."""
    names = iter(["taken", "taken", "free"])
    (tmp_path / "hephaestus-console-taken").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr("tempfile._get_candidate_names", lambda: names)
    with Handover(URL, str(tmp_path)) as page:
        assert page.path.parent.name == "hephaestus-console-free"
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_written_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens = os.open

    def full(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith("console.html"):
            raise OSError(28, "No space left on device")
        return opens(path, *rest, **more)

    monkeypatch.setattr("os.open", full)
    with pytest.raises(OSError, match="No space"):
        Handover(URL, str(tmp_path))
    assert not list(tmp_path.iterdir())
