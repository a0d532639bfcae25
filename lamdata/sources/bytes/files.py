"""Source files: what a card's `path` and `members` mean, as a sorted list of files that can be opened wherever they lie."""

from __future__ import annotations

import glob
import importlib.util
import os
import posixpath
import re
from pathlib import Path

from lamdata.catalog import SourceSpec
from lamdata.errors import ConfigError, SourceError
from lamdata.located import _nearest_file

from .archives import is_archive, member_sizes
from .group_files import ROOT, without_insides
from .patterns import matches, names_in_url
from .source_file import SourceFile, Span, even_spans
from .streams import is_url, local_path

__all__ = ["SourceFile", "Span", "even_spans", "expand", "folder_variable"]

VARIABLE = re.compile(r"\$([A-Z][A-Z0-9_]*)/")


def expand(spec: SourceSpec, *, base: Path) -> list[SourceFile]:
    """List the files of a source, sorted by name; `base` is the folder of the card."""
    path = spec.path
    if path.startswith("package://"):
        root, path = _package_file(path)
        files = _expand_local(path, spec.members, root=root)
    elif folder_variable(path):
        root, path = _below_variable(path)
        files = _expand_local(path, spec.members, root=root)
    elif is_url(path):
        files = _expand_url(path, spec.members)
    else:
        path = os.path.expanduser(local_path(path))
        files = _expand_local(os.path.normpath(os.path.join(base, path)), spec.members, root=_root(path, base))
    if not files:
        wanted = f"{spec.members!r} in " if spec.members else ""
        raise SourceError(f"no file matches {wanted}{spec.path!r}", where=str(base))
    return sorted(files, key=lambda file: file.name)


def _root(path: str, base: Path) -> str:
    """The folder that names are relative to: the card's, or, outside it, the one above what is named without a pattern."""
    if not os.path.isabs(path) and not path.startswith(".."):
        return str(base)
    fixed = os.path.normpath(os.path.join(base, path))
    while glob.has_magic(fixed) and not os.path.exists(fixed):
        fixed = os.path.dirname(fixed)
    return os.path.dirname(fixed)


def _package_file(path: str) -> tuple[str, str]:
    """The folder in which a package lies, and the file; the package is found, never imported."""
    package, _, rest = path.removeprefix("package://").partition("/")
    if not rest or ".." in rest.split("/"):
        raise SourceError("expected package://NAME/FILE", where=path)
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    for folder in (found and found.submodule_search_locations) or []:
        if os.path.exists(os.path.join(folder, rest)):
            return os.path.dirname(folder), os.path.join(folder, rest)
    missing = f"has no file {rest}" if found else "is not installed"
    raise SourceError(f"package {package} {missing}", where=path)


def folder_variable(path: str) -> str | None:
    """The environment variable that a path begins with, as OPEN_MINI in `$OPEN_MINI/mlearn/Si.xyz`; None where there is none."""
    found = VARIABLE.match(path)
    return found and found[1]


def _below_variable(path: str) -> tuple[str, str]:
    """The folder that the variable names, and the file in it. Its value is in no message: a card of others could ask for any variable."""
    name = folder_variable(path)
    assert name is not None, "the caller has looked"
    folder, rest = os.environ.get(name), path.split("/", 1)[1]
    if ".." in rest.split("/"):
        raise SourceError(f"a path below ${name} has no `..`", where=path)
    if folder is None or not os.path.isdir(folder):
        problem = "is not set" if folder is None else "is not the path of a folder"
        raise SourceError(f"the environment variable {name} {problem}", where=path, hint=f"`export {name}=FOLDER`, where FOLDER has {rest}")
    return folder, os.path.normpath(os.path.join(folder, rest))


def _expand_local(path: str, members: str | None, *, root: str) -> list[SourceFile]:
    if os.path.isfile(path):
        return _expand_file(path, members, name=_name(path, root))
    if os.path.isdir(path):
        inside = glob.glob(members or "**", root_dir=path, recursive=True)
        found = (os.path.join(path, name) for name in (inside if members else without_insides(inside)))
        return [file for one in found if os.path.isfile(one) for file in _expand_file(one, None, name=_name(one, root))]
    if not glob.has_magic(path):
        raise SourceError("no such file or folder", where=path, hint=_nearest_file(Path(path)))
    named = (p for p in glob.glob(path, recursive=True) if os.path.isfile(p) or members or os.path.isfile(os.path.join(p, ROOT)))
    return [file for p in named for file in _expand_local(p, members, root=root)]


def _name(path: str, root: str) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


def _expand_file(path: str, members: str | None, *, name: str) -> list[SourceFile]:
    if not is_archive(path):
        if members is not None:
            raise ConfigError("`members` are of archives and folders, and this is a plain file", where=name, hint="leave `members` out")
        return [SourceFile(name=name, path=path)]
    inside = [member for member in member_sizes(path) if not posixpath.basename(member).startswith(".")]
    wanted = without_insides(inside) if members is None else [member for member in inside if matches(member, members)]
    return [SourceFile(name=f"{name}/{member}", path=path, member=member) for member in wanted]


def _expand_url(url: str, members: str | None) -> list[SourceFile]:
    """A URL names a file or archive; with a pattern, a trailing slash or `members`, what lies below a folder."""
    if not glob.has_magic(url.split("?")[0] if url.startswith("http") else url):
        if is_archive(url) or not (members or url.endswith("/")):
            return _expand_file(url, members, name=posixpath.basename(url.split("?")[0]) or "source")
        folder, pattern, members = url.rstrip("/"), members or "**", None
    else:
        steps = url.split("/")
        first = next(i for i, step in enumerate(steps) if glob.has_magic(step))
        folder, pattern = "/".join(steps[:first]), "/".join(steps[first:])
    top = posixpath.basename(folder)
    return [f for n in names_in_url(folder, pattern) for f in _expand_file(f"{folder}/{n}", members, name=f"{top}/{n}")]
