"""Every tool ready to run: prebuilt, found on PATH, or compiled once into a cache. Imports the standard library only.

Where a tool comes from, in this order: the folder in ``PDSCALER_TOOLS_DIR`` (all of them must be there and fit), a
fitting version on PATH, the cache. What the cache lacks is compiled with :mod:`localplane.gotoolchain`'s Go. The cache
folder is named by the hash of the pins and flags, so that a changed pin builds anew and old clones keep theirs.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from localplane.errors import LocalPlaneError
from localplane.gobuild import check_disk, compile_tool, module_folder
from localplane.gotoolchain import SERIES, ensure_go
from localplane.progress import Console, Progress
from localplane.stages import STAGES_FILE, collect_stages
from localplane.toolset import DISK_GB, MODULES, TOOLS, Tool, Tools, cache_folder

REQUIREMENTS = MODULES.parents[2] / "requirements" / "go.txt"
_KWOK_MODULE = "sigs.k8s.io/kwok"


def ensure_tools(
    progress: Progress | None = None, names: Iterable[str] = tuple(TOOLS), environ: Mapping[str, str] = os.environ
) -> Tools:
    """Return the paths of the tools, building what is missing.

    Parameters
    ----------
    progress
        Where to say what happens; standard error where silent is not wanted.
    names
        Which tools; all by default.
    environ
        Environment: ``PDSCALER_TOOLS_DIR``, ``PATH``, ``XDG_CACHE_HOME``, ``GOPROXY`` and the like.

    Raises
    ------
    LocalPlaneError
        Where something cannot be had; the text says what to do.
    """
    say = Console() if progress is None else progress
    wanted = [TOOLS[name] for name in names]
    prebuilt = environ.get("PDSCALER_TOOLS_DIR")
    if prebuilt:
        return _from_folder(Path(prebuilt).expanduser(), wanted, say, environ)
    folder = cache_folder(environ) / fingerprint()
    paths, missing = {}, []
    for tool in wanted:
        cached = folder / tool.name
        on_path = shutil.which(tool.name, path=environ.get("PATH", ""))
        if cached.exists():
            paths[tool.name] = cached
        elif on_path and tool.fits(Path(on_path)):
            paths[tool.name] = Path(on_path)
        else:
            missing.append(tool)
    stages = folder / STAGES_FILE
    needs_stages = "kwok" in paths or any(tool.name == "kwok" for tool in missing)
    if missing or (needs_stages and not stages.exists()):
        _build(folder, missing, needs_stages, say, environ)
        paths |= {tool.name: folder / tool.name for tool in missing}
    return Tools({tool.name: paths[tool.name] for tool in wanted}, stages)


def fingerprint() -> str:
    """Return the name of the cache folder: a hash of the pins, the flags and the Go series."""
    digest = hashlib.sha256(SERIES.encode())
    for tool in TOOLS.values():
        digest.update("\0".join((tool.name, tool.package, *tool.flags, "")).encode())
    for module in sorted({tool.module for tool in TOOLS.values()}):
        for file in ("go.mod", "go.sum"):
            digest.update((MODULES / module / file).read_bytes())
    return digest.hexdigest()[:16]


def _from_folder(folder: Path, wanted: list[Tool], progress: Progress, environ: Mapping[str, str]) -> Tools:
    problems = [
        f"{tool.name} is {'of another version' if (folder / tool.name).exists() else 'missing'}"
        for tool in wanted
        if not tool.fits(folder / tool.name)
    ]
    if problems:
        raise LocalPlaneError(f"PDSCALER_TOOLS_DIR={folder}: {'; '.join(problems)} (unset it to have them compiled)")
    stages = folder / STAGES_FILE
    if any(tool.name == "kwok" for tool in wanted) and not stages.exists():
        # A folder of binaries only: the stages belong to kwok's sources, so they are fetched into the cache.
        cached = cache_folder(environ) / fingerprint()
        stages = cached / STAGES_FILE
        if not stages.exists():
            _build(cached, [], True, progress, environ)
    return Tools({tool.name: folder / tool.name for tool in wanted}, stages)


def _build(
    folder: Path, missing: list[Tool], needs_stages: bool, progress: Progress, environ: Mapping[str, str]
) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalPlaneError(f"the tools' cache cannot be made: {error} (set XDG_CACHE_HOME)") from error
    with _lock(folder.parent / "lock", progress):
        to_build = [tool for tool in missing if not (folder / tool.name).exists()]
        stages = folder / STAGES_FILE
        if not to_build and (stages.exists() or not needs_stages):
            return
        check_disk(folder, DISK_GB if len(to_build) > 3 else 1.0, progress)
        go = ensure_go(cache_folder(environ), REQUIREMENTS, progress, environ)
        started_s = time.monotonic()
        if needs_stages and not stages.exists():
            collect_stages(module_folder(go, "controlplane", _KWOK_MODULE, environ), stages)
        total = len(to_build)
        if total > 1:
            minutes = sum(tool.cold_s for tool in to_build) / 60
            progress.line(
                f"compiling {total} tools into {folder}: about {minutes:.0f} minutes on 2 cores the first time, "
                f"under a minute when Go's build cache has them"
            )
        for number, tool in enumerate(to_build, 1):
            label = f"compiling {tool.name} {number}/{total}, about {_about(tool.cold_s)} the first time"
            compile_tool(go, tool, folder / tool.name, label=label, progress=progress, environ=environ)
        if total:
            progress.line(f"compiled {total} tools in {time.monotonic() - started_s:.0f}s")


def _about(seconds: float) -> str:
    if seconds < 50:
        return f"{max(10, round(seconds / 10) * 10)} seconds"
    minutes = round(seconds / 60)
    return "a minute" if minutes <= 1 else f"{minutes} minutes"


@contextlib.contextmanager
def _lock(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of the cache: two builders at once would do the same work twice on the same cores."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            progress.line(f"another process ({file.read().strip() or 'unknown'}) builds the tools; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(f"pid {os.getpid()}\n")
        file.flush()
        yield
