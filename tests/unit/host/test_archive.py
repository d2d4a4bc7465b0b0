"""The file that a backup is: whole or refused, whatever it claims to be."""

import gzip
import io
import json
import random
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kronforce.host import archive
from kronforce.host.archive import Manifest, part_of
from kronforce.host.opening import HostError

CONTENT = random.Random(7).randbytes(200_000)


def quiet(*_: object) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def made(tmp_path) -> tuple[Path, Manifest]:
    """Give a backup of three files, and its manifest."""
    folder = tmp_path / "parts"
    folder.mkdir()
    files = [folder / name for name in ("kronforce.db", "kronforce-output.db", "secrets.key")]
    for path in files:
        path.write_bytes(CONTENT[: 1 + len(path.name) * 9_000])
    manifest = manifest_of(tuple(part_of(path, path.suffix[1:]) for path in files))
    target = tmp_path / "backup.tar.gz"
    archive.write(target, manifest, files, folder, quiet)
    return target, manifest


def manifest_of(parts) -> Manifest:
    return Manifest(
        format=archive.FORMAT, version="1", created_at="2026", store="sqlite",
        schema={"main": "0002", "output": "0001"}, namespace="", parts=parts,
    )  # fmt: skip


def extract(source: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    archive.extract(source, folder, quiet)
    return folder


def forged(path: Path, manifest: object, *members: tuple[str, bytes, bytes]) -> Path:
    """Make an archive by hand: a manifest, then members of a name, a type and a content."""
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        for name, kind, content in ((archive.MANIFEST, tarfile.REGTYPE, text), *members):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return path


def plain(manifest: Manifest, **changed: object) -> dict[str, object]:
    return json.loads(archive._text(manifest)) | changed


def test_what_was_written_is_read_again_and_is_its_owners_alone(made, tmp_path):
    source, manifest = made

    folder = extract(source, tmp_path)

    assert archive.read_manifest(source) == manifest
    for part in manifest.parts:
        assert (folder / part.name).read_bytes() == CONTENT[: part.size]
        assert (folder / part.name).stat().st_mode & 0o777 == 0o600
    assert source.stat().st_mode & 0o777 == 0o600


def test_a_name_that_ends_in_tar_is_not_compressed(made, tmp_path):
    source, manifest = made
    loose = tmp_path / "backup.tar"
    folder = extract(source, tmp_path)
    files = [folder / part.name for part in manifest.parts]

    archive.write(loose, manifest, files, folder, quiet)

    with tarfile.open(loose, "r:") as tar:
        assert tar.getnames() == [archive.MANIFEST, *(part.name for part in manifest.parts)]


def test_a_file_that_is_cut_off_anywhere_is_refused(made, tmp_path):
    source, _ = made
    whole = source.read_bytes()
    cut = tmp_path / "cut.tar.gz"
    for length in (0, 1, 100, len(whole) // 3, len(whole) // 2, len(whole) - 9_000):
        cut.write_bytes(whole[:length])
        folder = tmp_path / f"out-{length}"
        folder.mkdir()
        with pytest.raises(HostError, match=r"no backup|damaged|cut off"):
            archive.extract(cut, folder, quiet)


def test_a_changed_byte_of_any_part_is_found(made, tmp_path):
    source, manifest = made
    whole = bytearray(gzip.decompress(source.read_bytes()))
    for number, part in enumerate(manifest.parts):
        place = whole.index(part.name.encode() + b"\0") + 512 + part.size // 2
        changed = bytearray(whole)
        changed[place] ^= 1
        path = tmp_path / f"{number}.tar"
        path.write_bytes(changed)
        folder = tmp_path / f"out-{number}"
        folder.mkdir()
        with pytest.raises(HostError, match=f"{part.name} in the backup is damaged"):
            archive.extract(path, folder, quiet)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_changed_in_it_what_is_read_is_what_was_written_or_nothing(
    made, tmp_path_factory, data
):
    source, manifest = made
    whole = bytearray(gzip.decompress(source.read_bytes()))
    for _ in range(data.draw(st.integers(1, 3))):
        # Mostly where names, sizes and types stand.
        headers = [n for n in range(0, len(whole), 512) if whole[n + 257 : n + 262] == b"ustar"]
        start = data.draw(st.sampled_from([*headers, 512, 0]))
        place = start + data.draw(st.integers(0, 511))
        whole[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("changed") / "x.tar"
    path.write_bytes(whole)
    folder = path.parent / "out"
    folder.mkdir()

    try:
        found = archive.extract(path, folder, quiet)
    except HostError:
        return
    for part in found.parts:
        known = [each for each in manifest.parts if each.sha256 == part.sha256]
        assert (folder / part.name).read_bytes() == CONTENT[: known[0].size]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", ".hidden", "", "manifest.json"])
def test_a_part_with_a_hostile_name_is_refused_before_anything_is_written(made, tmp_path, name):
    part = {"name": name, "kind": "key", "size": 1, "sha256": ""}
    source = forged(tmp_path / "x.tar", plain(made[1], parts=[part]), (name, tarfile.REGTYPE, b"x"))

    with pytest.raises(HostError, match="names a part"):
        extract(source, tmp_path)

    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"3"])
def test_a_member_that_is_no_file_is_refused(made, tmp_path, kind):
    part = {"name": "a.key", "kind": "key", "size": 0, "sha256": ""}
    source = forged(tmp_path / "x.tar", plain(made[1], parts=[part]), ("a.key", kind, b""))

    with pytest.raises(HostError, match="does not name"):
        extract(source, tmp_path)


def test_members_that_nobody_named_or_twice_named_are_refused(made, tmp_path):
    part = {"name": "a.key", "kind": "key", "size": 1, "sha256": ""}
    other = ("b.key", tarfile.REGTYPE, b"x")
    with pytest.raises(HostError, match="does not name"):
        extract(forged(tmp_path / "x.tar", plain(made[1], parts=[part]), other), tmp_path)
    with pytest.raises(HostError, match="names a part"):
        archive.read_manifest(forged(tmp_path / "y.tar", plain(made[1], parts=[part, part])))


def test_a_part_that_is_longer_than_it_says_is_refused_unwritten(made, tmp_path):
    part = {"name": "a.key", "kind": "key", "size": 1, "sha256": ""}
    long = ("a.key", tarfile.REGTYPE, b"x" * 100_000)
    with pytest.raises(HostError, match="damaged"):
        extract(forged(tmp_path / "x.tar", plain(made[1], parts=[part]), long), tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"{}", b"null", b'{"format": 1}', b"\xff\xfe", b'{"format": 1, "parts": 7}',
        b'{"format": 1, "parts": [{"name": 1, "kind": 2, "size": "3", "sha256": 4}]}',
    ],
)  # fmt: skip
def test_a_manifest_that_says_nothing_is_refused(tmp_path, text):
    with pytest.raises(HostError, match="damaged"):
        archive.read_manifest(forged(tmp_path / "x.tar", text))


def test_a_form_of_later_names_the_version_that_reads_it(made, tmp_path):
    source = forged(tmp_path / "x.tar", plain(made[1], format=2, version="9.1"))
    with pytest.raises(HostError, match=r"made by version 9\.1"):
        archive.read_manifest(source)


def test_what_is_no_backup_at_all_is_said_so(tmp_path):
    for name, content in (("a", b"hello"), ("b", gzip.compress(b"hello")), ("c", b"\0" * 2_000)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(HostError, match="is no backup"):
            archive.read_manifest(tmp_path / name)
    with pytest.raises(HostError, match="there is no file"):
        archive.read_manifest(tmp_path / "nowhere")
    with pytest.raises(HostError, match="cannot restore"):
        archive.read_manifest(tmp_path)
    loose = tmp_path / "d.tar"
    with tarfile.open(loose, "w") as tar:
        tar.add(tmp_path / "a", "a")
    with pytest.raises(HostError, match="no backup of Kronforce"):
        archive.read_manifest(loose)
