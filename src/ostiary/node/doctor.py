"""The checks of `ostiary doctor`: the data directory, the database and the settings."""

import stat

from ostiary.config import ConfigurationError, Settings
from ostiary.node import clock_watch, installation
from ostiary.storage import engines


def examine(settings: Settings) -> list[tuple[str, str, str]]:
    """Check the installation without changing it. Return findings as (subject, ok | warning | wrong, sentence)."""
    findings: list[tuple[str, str, str]] = []
    try:
        opened = installation.open_installation(settings)
    except ConfigurationError as error:
        return [(each.name, "wrong", f"{each.source} {each.reason}") for each in error.wrong]
    except installation.DatabaseNotReachableError as error:
        return [("Database", "wrong", str(error))]
    try:
        database = opened.store.engines
        wrong = installation.faults(opened)
        findings += [("Integrity", "wrong", each) for each in wrong]
        if not wrong:
            findings.append(("Integrity", "ok", "every row was read, and none is damaged"))
        version = engines.linked_version(database)
        findings.append(("Database", "ok", f"{database.name} {version}, schema up to date"))
        if settings.database_url is None:
            if not engines.checkpoints_safely():
                state = "warning" if settings.workers == 1 else "wrong"
                findings.append(
                    ("SQLite", state, f"more than one worker {engines.NEEDS}, and this is {version}")
                )
            for path in sorted(settings.data.iterdir()):
                mode = stat.S_IMODE(path.stat().st_mode)
                if mode & 0o077:
                    findings.append(
                        ("File mode", "wrong", f"{path} can be read by others; run `chmod 600` on it")
                    )
            findings.append(_disk(settings))
        ahead = engines.clock_difference(database, opened.store.clock())
        state = "ok" if abs(ahead) <= clock_watch.MAX_DIFFERENCE else "wrong"
        findings.append(("Clock", state, f"{abs(ahead):.1f} s from the database's"))
        findings.append(("Master key", "ok", "is the one that this database was made with"))
        https = settings.public_url.startswith("https:")
        findings.append(
            (
                "Issuer",
                "ok" if https else "warning",
                settings.public_url + ("" if https else ", for this machine only"),
            )
        )
        trusted = ", ".join(str(network) for network in settings.trusted_proxies)
        findings.append(("Trusted proxies", "ok", trusted or "none: forwarded headers are ignored"))
    finally:
        opened.close()
    return findings


def _disk(settings: Settings) -> tuple[str, str, str]:
    """The finding about free disk space and the reserve."""
    reserve = installation.reserve_of(settings)
    free, left, low = reserve.free() or 0, reserve.left(), installation.low_disk(reserve)
    told = (
        f"{free // installation.MIB} MiB free in {settings.data}, {left // installation.MIB} MiB in reserve"
    )
    if not reserve.has_room():
        return "Disk", "wrong", f"{told}: {installation.REMEDIES['full']}"
    return "Disk", "warning" if low else "ok", low or told
