"""A zip as an index of its members and streams of their bytes."""

from __future__ import annotations

import io
import stat
import zipfile
from typing import BinaryIO, cast

from lamdata.errors import SourceError

from .streams import FREE, MAX_RATIO, is_url, open_stored, size_of
from .tar_archive import CACHE, MAX_MEMBERS, safe_name


class ZipArchive:
    """A zip."""

    def __init__(self, path: str):
        self.path = path
        self.sizes: dict[str, int] = {}
        self._infos: dict[str, zipfile.ZipInfo] = {}
        stored = open_stored(path, ranges=is_url(path) and size_of(path) > CACHE)
        if not stored.seekable():  # a zip's index is at its end
            with stored:
                stored = io.BytesIO(stored.read(CACHE))
        try:
            self._zip = zipfile.ZipFile(stored)
            self._index()
        except SourceError:
            raise
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, OSError) as err:
            stored.close()
            raise SourceError(f"damaged zip ({err})", where=path) from None

    def _index(self) -> None:
        if len(self._zip.filelist) > MAX_MEMBERS:
            raise SourceError(f"more than {MAX_MEMBERS} members", where=self.path)
        for info in self._zip.filelist:
            if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
                continue
            if info.flag_bits & 1:
                raise SourceError("the zip is encrypted", where=self.path)
            if info.file_size > FREE and info.file_size > MAX_RATIO * info.compress_size:
                raise SourceError(f"{info.filename[:100]!r} unpacks to more than {MAX_RATIO} times its size: refused", where=self.path)
            name = safe_name(info.filename, where=self.path)
            self.sizes[name], self._infos[name] = info.file_size, info

    def open(self, member: str) -> BinaryIO:
        try:
            return cast(BinaryIO, self._zip.open(self._infos[member]))  # zipfile never gives more than the size its index states
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError) as err:
            raise SourceError(f"damaged zip ({err})", where=f"{self.path}/{member}") from None

    def close(self) -> None:
        self._zip.close()
