"""Source files: the same names and bytes from a folder, an archive and a server, and nothing else from a hostile one."""

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.sources import expand
from lamdata.sources.bytes import archives, lines, scan, source_file, tar_archive
from lamdata.sources.bytes.digests import kind_like
from lamdata.sources.bytes.files import SourceFile
from lamdata.sources.bytes.lines import Lines
from lamdata.sources.bytes.streams import zstd

TEXTS = {"a/00.in": b"deck 0\n", "a/00.out": b"output 0\n", "b/00.in": b"deck 1\n", "b/00.out": b"output 1\n" * 1000}


def write_tar(path, texts=TEXTS, mode="w:xz"):
    packed = zstd.ZstdFile(path, "w", options={zstd.CompressionParameter.checksum_flag: 1}) if mode == "w:zst" else None
    with tarfile.open(path, "w" if packed else mode, packed) as tar:
        for name, data in texts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    if packed:
        packed.close()
    return path


def write_zip(path, texts=TEXTS):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in texts.items():
            out.writestr(name, data)
    return path


def write_folder(path, texts=TEXTS):
    for name, data in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def files(base, path, members="*/*.out"):
    return expand(SourceSpec(path=path, members=members), base=base)


@pytest.fixture(params=["folder", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "zip"])
def source(request, tmp_path):
    """The same four files in each kind of container."""
    name = f"raw.{request.param}"
    if request.param == "folder":
        write_folder(tmp_path / name)
    elif request.param == "zip":
        write_zip(tmp_path / name)
    else:
        write_tar(tmp_path / name, mode="w:" + request.param.partition(".")[2])
    return tmp_path, name


def test_any_container_gives_the_same_files(source):
    base, name = source
    found = files(base, name)
    assert [file.name for file in found] == [f"{name}/a/00.out", f"{name}/b/00.out"]
    assert [file.text() for file in found] == ["output 0\n", "output 1\n" * 1000]
    assert found[1].folder == f"{name}/b" and found[1].size == 9000 and found[1].head(6) == b"output"
    assert list(found[1].lines())[:2] == ["output 1\n"] * 2


def test_a_file_knows_what_lies_beside_it(source):
    base, name = source
    file = files(base, name)[0]
    assert file.sibling("00.in").text() == "deck 0\n"
    assert file.sibling("01.in") is None
    assert file.sibling("../b/00.in").text() == "deck 1\n"
    assert file.sibling("../../secret") is None and file.sibling("/etc/passwd") is None and file.sibling("") is None
    assert [f.name for f in file.siblings("*.in")] == [f"{name}/a/00.in"]


def test_a_file_survives_the_trip_to_another_process(source):
    base, name = source
    file = pickle.loads(pickle.dumps(files(base, name)[1]))
    assert file.text() == "output 1\n" * 1000


def test_a_real_path_is_given_and_taken_back(source):
    base, name = source
    file = files(base, name)[0]
    with file.local("00.in") as path:
        assert path.read_bytes() == b"output 0\n" and (path.parent / "00.in").read_bytes() == b"deck 0\n"
        kept = path
    assert kept.exists() == (name == "raw.folder")
    if name != "raw.folder":
        with pytest.raises(SourceError, match="too large"), file.local(limit=3):
            pass


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd.compress)]
)
def test_a_packed_file_reads_as_the_file(tmp_path, suffix, pack):
    (tmp_path / f"run.out{suffix}").write_bytes(pack(b"energy\n"))
    (tmp_path / f"run.in{suffix}").write_bytes(pack(b"deck\n"))
    (file,) = files(tmp_path, f"run.out{suffix}", None)
    assert file.text() == "energy\n" and file.basename == "run.out" and file.sibling("run.in").text() == "deck\n"
    assert [one.basename for one in file.siblings("*.in")] == ["run.in"]
    with tarfile.open(tmp_path / "runs.tar", "w") as tar:
        tar.add(tmp_path / f"run.out{suffix}", f"run.out{suffix}")
    (inside,) = files(tmp_path, "runs.tar", None)
    assert file.sha256 == inside.sha256 == hashlib.sha256(pack(b"energy\n")).hexdigest()


def test_names_do_not_depend_on_where_the_catalog_lies(tmp_path):
    for home in ("one", "two"):
        write_folder(tmp_path / home / "raw")
    names = [[f.name for f in files(tmp_path / home, "raw/*/*.out", None)] for home in ("one", "two")]
    assert names[0] == names[1] == ["raw/a/00.out", "raw/b/00.out"]
    assert [f.name for f in files(tmp_path, str(tmp_path / "one/raw/*/*.out"), None)] == names[0]
    assert [f.name for f in files(tmp_path, str(tmp_path / "one/raw"))] == names[0]


def test_archives_found_by_a_pattern_are_opened(tmp_path):
    write_tar(tmp_path / "x.tar.xz")
    write_zip(tmp_path / "y.zip")
    assert [f.name for f in files(tmp_path, "*.*", "a/*.out")] == ["x.tar.xz/a/00.out", "y.zip/a/00.out"]


def test_a_package_file_is_found_without_importing_the_package(tmp_path):
    (file,) = files(tmp_path, "package://pymatgen/analysis/prototypes/aflow_prototypes.json.gz", None)
    assert file.name.startswith("pymatgen/analysis/") and file.head(1) == b"["
    for wrong in ("package://pymatgen/none.json", "package://no_such_package/x", "package://pymatgen/../x", "package://"):
        with pytest.raises(SourceError):
            files(tmp_path, wrong, None)


def test_a_path_may_begin_with_a_folder_of_the_environment(tmp_path, monkeypatch):
    for home in ("one", "two"):
        write_folder(tmp_path / home / "raw")
        monkeypatch.setenv("MY_DATA", str(tmp_path / home))
        assert [f.name for f in files(tmp_path, "$MY_DATA/raw/*/*.out", None)] == ["raw/a/00.out", "raw/b/00.out"]
        assert [f.name for f in files(tmp_path, "$MY_DATA/raw/a/00.out", None)] == ["raw/a/00.out"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("$MY_DATA/a.xyz", None, "MY_DATA is not set; `export MY_DATA=FOLDER`, where FOLDER has a.xyz"),
        ("$MY_DATA/a.xyz", "secret", "MY_DATA is not the path of a folder"),
        ("$MY_DATA/../a.xyz", ".", r"a path below \$MY_DATA has no `..`"),
        ("$MY_DATA/a.xyz", ".", "no such file or folder"),
        ("b/$MY_DATA/a.xyz", ".", r"\$MY_DATA"),
        ("https://x.invalid/$MY_DATA/a.xyz", "secret", r"\$MY_DATA"),
    ],
)
def test_a_variable_of_the_environment_names_a_folder_and_its_value_is_never_said(tmp_path, monkeypatch, path, value, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MY_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_DATA", value)
    if "://" in path:
        assert [file.path for file in files(tmp_path, path, None)] == [path]  # as it stands: nothing is filled in
        return
    with pytest.raises(SourceError, match=message) as err:
        files(tmp_path, path, None)
    assert "secret" not in str(err.value)


def test_a_missing_file_is_one_line(tmp_path):
    (tmp_path / "data.tar").write_bytes(b"")
    with pytest.raises(SourceError, match=r"no such file or folder; did you mean .*data\.tar") as err:
        files(tmp_path, "date.tar")
    assert "\n" not in str(err.value)
    with pytest.raises(SourceError, match="no file matches"):
        files(tmp_path, "*.out", None)


def test_a_compressed_tar_is_read_through_once_by_readers_in_order(tmp_path, monkeypatch):
    texts = {f"{i:03d}/00.{end}": bytes([i]) * 2000 for i in range(100) for end in ("in", "out")}
    write_tar(tmp_path / "many.tar.xz", texts)
    monkeypatch.setattr(tar_archive, "CACHE", 40_000)  # so that most members do not fit
    opened = []
    monkeypatch.setattr(tar_archive, "open_bytes", lambda path, real=tar_archive.open_bytes: opened.append(path) or real(path))
    archives._open_archives.clear()
    for i, file in enumerate(files(tmp_path, "many.tar.xz")):
        assert file.bytes() == file.sibling("00.in").bytes() == bytes([i]) * 2000
    assert len(opened) == 2  # once for the index, once for the members


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_a_member_that_points_outside_is_refused(tmp_path, name, write):
    path = write(tmp_path / ("x.zip" if write is write_zip else "x.tar.xz"), {name: b"x"})
    with pytest.raises(SourceError, match="outside"):
        files(tmp_path, path.name, None)


def test_links_and_devices_in_a_tar_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for kind, name in ((tarfile.SYMTYPE, "sym"), (tarfile.LNKTYPE, "hard"), (tarfile.CHRTYPE, "dev"), (tarfile.FIFOTYPE, "fifo")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("plain"))
    assert [f.member for f in files(tmp_path, "x.tar", None)] == ["plain"]


@pytest.mark.parametrize("kind", ["gz", "zip", "tar.xz", "zst", "zip.gz"])
def test_a_bomb_is_refused(tmp_path, kind):
    zeros = bytes(100 << 20)
    path = tmp_path / f"bomb.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(zeros, 1))
    elif kind == "tar.xz":
        write_tar(path, {"zeros": zeros})
    elif kind == "zst":
        path.write_bytes(zstd.compress(zeros))
    else:
        path = write_zip(tmp_path / "bomb.zip", {"zeros": zeros} if kind == "zip" else {"zeros.gz": gzip.compress(zeros, 9)})
    with pytest.raises(SourceError, match="refused"):
        for file in files(tmp_path, path.name, None):
            for _ in file.lines():
                pass


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.xz", "x.tar.zst", "x.zip", "x.out.gz", "x.out.zst"])
def test_a_cut_or_flipped_container_is_one_clear_error(tmp_path, name):
    whole = tmp_path / name
    if name in ("x.out.gz", "x.out.zst"):
        options = {zstd.CompressionParameter.checksum_flag: 1}
        pack = gzip.compress if name.endswith("gz") else partial(zstd.compress, options=options)
        whole.write_bytes(pack(b"line\n" * 5000))
    else:
        write_zip(whole) if name.endswith("zip") else write_tar(whole, mode="w:" + name.partition(".tar")[2].strip("."))
    good = whole.read_bytes()
    whole_tar = good.rstrip(b"\0")  # after its end mark a tar is padded with zeros
    for i in range(0, len(whole_tar) - 1, max(1, len(good) // 60)):
        flipped = bytearray(good)
        flipped[i] ^= 0xFF
        for data, cut in ((good[:i], True), (bytes(flipped), False)):
            whole.write_bytes(data)
            try:
                [f.bytes() for f in files(tmp_path, name, None)]
            except SourceError as err:
                assert "\n" not in str(err)
                continue
            assert not cut  # a flip may hit data that nothing guards


def test_a_forged_tar_header_does_not_fill_the_memory(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30  # a "long name" of 4 GiB
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20))
    with pytest.raises(SourceError, match="header too large"):
        files(tmp_path, "x.tar", None)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the test's output clean."""


def test_a_plain_http_server_is_enough(tmp_path):
    write_tar(tmp_path / "x.tar.xz")
    write_tar(tmp_path / "x.tar", mode="w:")
    write_zip(tmp_path / "x.zip")
    (tmp_path / "run.out.gz").write_bytes(gzip.compress(b"energy\n"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        for name in ("x.tar.xz", "x.tar", "x.zip"):
            found = files(tmp_path, f"{url}/{name}?download=1")
            assert [(f.name, f.text()) for f in found][0] == (f"{name}/a/00.out", "output 0\n")
            assert found[1].sibling("00.in").text() == "deck 1\n"
        (file,) = files(tmp_path, f"{url}/run.out.gz", None)
        assert file.name == "run.out.gz" and file.text() == "energy\n" and file.sibling("run.in") is None
        with pytest.raises(SourceError, match="no such file"):
            files(tmp_path, f"{url}/none.out", None)[0].text()
    finally:
        server.shutdown()


def test_any_fsspec_url_lists_and_reads(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for name, data in TEXTS.items():
        memory.pipe(f"/bucket/raw/{name}", data)
    memory.pipe("/bucket/x.tar.xz", write_tar(tmp_path / "x.tar.xz").read_bytes())
    found = files(tmp_path, "memory://bucket/raw/")
    assert [f.name for f in found] == ["raw/a/00.out", "raw/b/00.out"]
    assert found[0].text() == "output 0\n" and found[0].sibling("00.in").text() == "deck 0\n"
    assert [f.name for f in files(tmp_path, "memory://bucket/raw/*/*.out", None)] == ["raw/a/00.out", "raw/b/00.out"]
    assert [f.name for f in files(tmp_path, "memory://bucket/x.tar.xz")] == ["x.tar.xz/a/00.out", "x.tar.xz/b/00.out"]
    assert [f.name for f in found[0].siblings("*")] == ["raw/a/00.in", "raw/a/00.out"]


# ---- bytes at hand -------------------------------------------------------------------------------------------------------


def test_a_held_file_is_read_and_unpacked_once(tmp_path):
    path = tmp_path / "run.out.gz"
    path.write_bytes(gzip.compress(b"one\r\ntwo\n"))
    file = SourceFile(name="run.out.gz", path=str(path))
    held = file.hold()
    path.unlink()
    assert held == file and held.hold() is held
    assert held.text() == "one\r\ntwo\n" and list(held.lines()) == list(held.lines()) == ["one\n", "two\n"]


def test_large_damaged_and_missing_files_are_left_to_their_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(source_file, "MAX_HELD", 100)
    contents = {"large": b"x" * 101, "packed.gz": gzip.compress(b"x" * 101), "damaged.gz": gzip.compress(b"x" * 90)[:-9]}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    for name in (*contents, "missing"):
        file = SourceFile(name=name, path=str(tmp_path / name))
        assert file.hold() is file


def titles_and_lines(lines):
    """Lines found by title and, after each, the line that follows and what was read by then; then what is left."""
    titles = {"ab": "anywhere", "abc": "longer", "bé": "accented", "\nc": "start", "\ncb": "longer start"}
    found = []
    while (hit := lines.title(titles)) is not None:
        found += [hit, lines.tell()] + ([next(lines, None)] if hit[0] != "longer" else [])
    return found, list(lines)


@given(st.text("abcé\n\r", max_size=60).map(str.encode) | st.binary(max_size=30), st.integers(1, 9))
@example("xab\ncb abc\r\nc\rc ab bé".encode(), 3)
def test_titles_are_the_same_whatever_finds_them_and_is_read_at_once(data, chunk):
    with pytest.MonkeyPatch.context() as patch:
        found = titles_and_lines(Lines(io.BytesIO(data)))
        patch.setattr(lines, "CHUNK", chunk)
        assert titles_and_lines(Lines(io.BytesIO(data))) == found
        patch.setattr(scan, "compiled", None)
        assert titles_and_lines(Lines(io.BytesIO(data))) == found


def test_a_digest_says_how_it_was_made(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"energy\n" * 300_000)  # more than is hashed at once
    file = SourceFile(name="data", path=str(path))
    assert file.digest("sha256") == hashlib.sha256(path.read_bytes()).hexdigest() and kind_like([file.digest("sha256")]) == "sha256"
    blake3 = pytest.importorskip("blake3").blake3
    assert file.digest("blake3") == f"blake3:{blake3(path.read_bytes()).hexdigest()}"
    assert kind_like([]) == kind_like([file.digest("blake3")]) == "blake3"
