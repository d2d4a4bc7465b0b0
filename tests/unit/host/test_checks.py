"""Each check of `kronforce doctor`, on a host that is as it should be and on one that is not."""

import errno
import json
import os
import shutil
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kronforce import __version__, data_dir
from kronforce.clock import ManualClock
from kronforce.config import Config
from kronforce.host import (
    checks_agents,
    checks_folder,
    checks_host,
    checks_network,
    checks_sqlite,
    examination,
)
from kronforce.host.findings import Surroundings, Verdict
from kronforce.host.kernel_clock import KernelClock, read
from kronforce.host.running import running
from kronforce.store.database import open_database
from kronforce.store.migrate import migrate
from kronforce.v1.agent_pb2 import (
    AGENT_STATE_OFFLINE,
    AGENT_STATE_ONLINE,
    AGENT_TYPE_CUSTOM,
    Agent,
    AgentFacts,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Statvfs(NamedTuple):
    f_bavail: int
    f_frsize: int
    f_files: int
    f_favail: int


@pytest.fixture
def proc(tmp_path) -> Path:
    """A machine of one disk, without cgroups."""
    own = tmp_path / "proc" / "self"
    own.mkdir(parents=True)
    (own / "mounts").write_text("/dev/sda1 / ext4 rw 0 0\n")
    (own / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    (own / "cgroup").write_text("0::/\n")
    (own / "limits").write_text("Max open files            65536      65536      files\n")
    return tmp_path / "proc"


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


def around(folder: Path, proc: Path, **given) -> Surroundings:
    known = {"kernel_clock": lambda: KernelClock(in_step=True, error_us=4_000)}
    here = {name: given.pop(name) for name in list(given) if name in Surroundings.__slots__}
    config = Config(data_dir=folder, db=given.pop("db", str(folder / "kronforce.db")), **given)
    here = {"clock": ManualClock(NOW), **known, **here}
    return Surroundings(config=config, proc=proc, **here)


def found(check, where) -> list[tuple[Verdict, str]]:
    findings = list(check(where))
    assert all(bool(each.way_out) == (each.verdict != Verdict.FINE) for each in findings)
    return [(each.verdict, each.message) for each in findings]


def only(check, where) -> tuple[Verdict, str]:
    ((verdict, message),) = found(check, where)
    return verdict, message


# The machine


def test_versions_are_told_and_fit_each_other(folder, proc):
    verdict, message = only(checks_host.versions, around(folder, proc))
    assert (verdict, f"kronforce {__version__}" in message) == (Verdict.FINE, True)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ("65536", Verdict.FINE),
        ("1024", Verdict.FINE),
        ("512", Verdict.WARNING),
        ("64", Verdict.WRONG),
        ("unlimited", Verdict.FINE),
    ],
)
def test_few_open_files_are_few_agents(folder, proc, limit, verdict):
    (proc / "self" / "limits").write_text(f"Max open files    {limit}    65536   files\n")
    assert only(checks_host.open_files, around(folder, proc))[0] == verdict


def test_the_limit_is_the_running_controllers_where_one_runs(folder, proc):
    controller_of(folder, proc, pid=42)
    (proc / "42" / "limits").write_text("Max open files    100   100   files\n")
    verdict, message = only(checks_host.open_files, around(folder, proc))
    assert (verdict, message.startswith("the controller may")) == (Verdict.WRONG, True)


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (KernelClock(in_step=True, error_us=12_000), Verdict.FINE),
        (KernelClock(in_step=True, error_us=3_000_000), Verdict.WARNING),
        (KernelClock(in_step=False, error_us=0), Verdict.WARNING),
        (None, Verdict.WARNING),
    ],
)
def test_a_clock_that_nothing_sets_is_told(folder, proc, known, verdict):
    where = around(folder, proc, kernel_clock=lambda: known)
    assert only(checks_host.clock, where)[0] == verdict


def test_the_kernel_of_this_machine_can_be_asked_or_not_without_harm():
    known = read()
    assert known is None or known.error_us >= 0


def test_a_host_without_a_cgroup_of_its_own_is_warned(folder, proc):
    assert only(checks_host.task_cgroup, around(folder, proc))[0] == Verdict.WARNING


def test_a_folder_that_is_no_cgroup_is_none_and_is_left_as_it_was(folder, proc, tmp_path):
    root = tmp_path / "cgroup"
    root.mkdir()
    (proc / "self" / "mountinfo").write_text(f"30 22 0:26 / {root} rw - cgroup2 cgroup2 rw\n")
    assert only(checks_host.task_cgroup, around(folder, proc))[0] == Verdict.WARNING
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("cgroup", "verdict"), [("/sys/fs/cgroup/x", Verdict.FINE), ("", Verdict.WARNING)]
)
def test_a_living_launcher_says_whether_it_has_one(folder, proc, cgroup, verdict):
    launchers = folder / "agent-local" / "launchers"
    launchers.mkdir(parents=True)
    record = {"pid": 77, "start_ticks": 1, "kernel_boot": "", "cgroup": cgroup}
    (launchers / "a.starts").write_text(json.dumps(record) + "\n")
    (launchers / "dead.starts").write_text(json.dumps({**record, "pid": 78, "cgroup": ""}) + "\n")
    (launchers / "torn.starts").write_text('{"pid"')
    (proc / "77").mkdir()
    assert only(checks_host.task_cgroup, around(folder, proc))[0] == verdict


# The data folder


def test_a_private_folder_is_fine_and_one_that_others_may_enter_is_not(folder, proc):
    assert only(checks_folder.data_folder, around(folder, proc))[0] == Verdict.FINE
    folder.chmod(0o755)
    verdict, message = only(checks_folder.data_folder, around(folder, proc))
    assert (verdict, "0755" in message) == (Verdict.WARNING, True)


def test_a_folder_that_is_not_there_yet_is_a_warning(folder, proc):
    where = around(folder / "later" / "still", proc)
    assert only(checks_folder.data_folder, where)[0] == Verdict.WARNING
    assert found(checks_folder.key_files, where) == []
    assert found(checks_folder.fsync_time, where) == []
    assert only(checks_folder.disk, where)[0] == Verdict.FINE


def test_a_restore_that_was_not_finished_is_wrong(folder, proc):
    (folder / data_dir.RESTORING).touch()
    assert only(checks_folder.data_folder, around(folder, proc))[0] == Verdict.WRONG


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("ext4", Verdict.FINE),
        ("nfs4", Verdict.WRONG),
        ("tmpfs", Verdict.WARNING),
        ("overlay", Verdict.WARNING),
    ],
)
def test_a_file_system_is_judged_by_what_it_keeps(folder, proc, kind, verdict):
    (proc / "self" / "mounts").write_text(f"/dev/sda1 / ext4 rw 0 0\nx {folder} {kind} rw 0 0\n")
    assert only(checks_folder.file_system, around(folder, proc))[0] == verdict


def test_a_database_in_another_folder_is_looked_at_there_too(folder, proc, tmp_path):
    (proc / "self" / "mounts").write_text(f"/ / ext4 rw 0 0\nx {tmp_path}/far nfs rw 0 0\n")
    (tmp_path / "far").mkdir()
    where = around(folder, proc, db=str(tmp_path / "far" / "k.db"))
    verdicts = [verdict for verdict, _ in found(checks_folder.file_system, where)]
    assert verdicts == [Verdict.FINE, Verdict.WRONG]


@pytest.mark.parametrize(
    ("free_mib", "inodes", "verdict"),
    [
        (100_000, 1_000, Verdict.FINE),
        (400, 1_000, Verdict.WARNING),
        (255, 1_000, Verdict.WRONG),
        (100_000, 3, Verdict.WARNING),
    ],
)
def test_free_disk_is_held_against_the_reserve(folder, proc, free_mib, inodes, verdict):
    def statvfs(_):
        return Statvfs(f_bavail=free_mib, f_frsize=1 << 20, f_files=1_000, f_favail=inodes)

    assert only(checks_folder.disk, around(folder, proc, statvfs=statvfs))[0] == verdict


@pytest.mark.parametrize(
    ("secs", "verdict", "calls"),
    [(0.001, Verdict.FINE, 16), (0.05, Verdict.WARNING, 16), (0.5, Verdict.WRONG, 4)],
)
def test_a_disk_that_takes_its_time_is_told_and_not_asked_for_long(
    folder, proc, secs, verdict, calls
):
    clock, made = ManualClock(NOW), []

    def fsync(handle):
        made.append(handle)
        clock.advance(secs)

    where = around(folder, proc, fsync=fsync, clock=clock)
    assert only(checks_folder.fsync_time, where)[0] == verdict
    assert (len(made), list(folder.iterdir())) == (calls, [])


def test_key_files_are_their_owners_alone(folder, proc):
    assert only(checks_folder.key_files, around(folder, proc)) == (Verdict.FINE, "none yet")
    (folder / "agent-local").mkdir()
    for name in ("admin.key", "secrets.key", "agent-local/credential"):
        (folder / name).touch(mode=0o600)
    verdict, message = only(checks_folder.key_files, around(folder, proc))
    assert (verdict, "admin.key, secrets.key, credential" in message) == (Verdict.FINE, True)

    (folder / "secrets.key").chmod(0o640)
    verdict, message = only(checks_folder.key_files, around(folder, proc))
    assert (verdict, "secrets.key has mode 0640" in message) == (Verdict.WRONG, True)


def test_a_key_that_lies_elsewhere_may_be_for_a_group_but_not_for_all(folder, proc, tmp_path):
    key = tmp_path / "tls.pem"
    key.touch(mode=0o640)
    where = around(folder, proc, tls_cert=key, tls_key=key)
    assert only(checks_folder.key_files, where)[0] == Verdict.FINE
    key.chmod(0o644)
    assert only(checks_folder.key_files, where)[0] == Verdict.WRONG


# SQLite's files


@pytest.fixture
def database(folder) -> Path:
    made = open_database(str(folder / "kronforce.db"))
    migrate(made)
    made.close()
    return folder / "kronforce.db"


def test_whole_files_are_said_to_be_whole(folder, proc, database):
    names = [message.split(" ")[0] for _, message in found(checks_sqlite.integrity,
                                                           around(folder, proc))]  # fmt: skip
    assert names == ["kronforce.db", "kronforce-output.db"]


@pytest.mark.parametrize("thorough", [False, True])
def test_a_damaged_file_is_found_out(folder, proc, database, thorough):
    with closing(sqlite3.connect(database)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
        page = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs'").fetchone()[0]
        size = file.execute("PRAGMA page_size").fetchone()[0]
    with database.open("r+b") as raw:
        raw.seek((page - 1) * size)
        raw.write(b"\xff" * size)
    where = around(folder, proc, thorough=thorough)
    assert found(checks_sqlite.integrity, where)[0][0] == Verdict.WRONG


def test_a_check_that_takes_too_long_says_that_it_was_not_finished(folder, proc, database):
    class Slow(ManualClock):
        def monotonic(self):
            self.advance(60.0)
            return super().monotonic()

    with closing(sqlite3.connect(database)) as file:
        file.execute("CREATE TABLE many (a PRIMARY KEY, b)")
        file.execute(
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 50000)"
            " INSERT INTO many SELECT i, 'text ' || i FROM n"
        )
        file.commit()
    verdict, message = found(checks_sqlite.integrity, around(folder, proc, clock=Slow(NOW)))[0]
    assert (verdict, "not all" in message) == (Verdict.WARNING, True)
    whole = around(folder, proc, clock=Slow(NOW), thorough=True)
    assert found(checks_sqlite.integrity, whole)[0][0] == Verdict.FINE


def test_a_log_that_grew_without_end_is_told(folder, proc, database):
    assert found(checks_sqlite.write_ahead_log, around(folder, proc)) == []
    with (folder / "kronforce.db-wal").open("wb") as log:
        log.truncate(checks_sqlite.WAL_LARGE + 1)
    assert only(checks_sqlite.write_ahead_log, around(folder, proc))[0] == Verdict.WARNING


# The controller and its addresses


def controller_of(folder: Path, proc: Path, *, pid: int, address: str = "") -> None:
    """A process that holds the folder, as `proc` shows it."""
    (folder / data_dir.LOCK).write_text(f"{pid}\n")
    descriptors = proc / str(pid) / "fd"
    descriptors.mkdir(parents=True)
    (descriptors / "3").symlink_to(folder / data_dir.LOCK)
    if address:
        (folder / data_dir.ENDPOINT).write_text(json.dumps({"address": address, "pid": pid}))


def test_a_controller_is_known_by_the_lock_that_it_holds(folder, proc):
    assert only(checks_network.controller, around(folder, proc))[0] == Verdict.FINE
    controller_of(folder, proc, pid=42)
    assert only(checks_network.controller, around(folder, proc))[0] == Verdict.WARNING
    (folder / data_dir.ENDPOINT).write_text(json.dumps({"address": "127.0.0.1:5", "pid": 42}))
    verdict, message = only(checks_network.controller, around(folder, proc))
    assert (verdict, message) == (Verdict.FINE, "process 42, at 127.0.0.1:5")


def test_another_process_with_the_number_of_a_dead_controller_is_none(folder, proc):
    controller_of(folder, proc, pid=42, address="127.0.0.1:5")
    shutil.rmtree(proc / "42" / "fd")
    (proc / "42" / "fd").mkdir()
    assert running(folder, proc) is None
    verdict, message = only(checks_network.controller, around(folder, proc))
    assert (verdict, "did not end by itself" in message) == (Verdict.WARNING, True)


def test_this_process_is_found_by_the_lock_that_it_holds(folder):
    with data_dir.held(folder):
        found_here = running(folder)
    assert found_here is not None
    assert found_here.pid == os.getpid()
    assert running(folder) is None


def test_an_address_that_somebody_else_has_is_wrong_and_a_free_one_is_fine(folder, proc):
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        where = around(folder, proc, grpc_bind=address, metrics_bind="127.0.0.1:0")
        (grpc, said), (metrics, _) = found(checks_network.addresses, where)
        assert (grpc, metrics, "in use" in said) == (Verdict.WRONG, Verdict.FINE, True)
        controller_of(folder, proc, pid=42, address=address)
        assert found(checks_network.addresses, where) == []


def test_an_address_of_another_machine_is_wrong(folder, proc):
    where = around(folder, proc, grpc_bind="192.0.2.1:50051", insecure=True)
    (address, said), (clear, _) = found(checks_network.addresses, where)
    assert (address, clear) == (Verdict.WRONG, Verdict.WARNING)
    assert os.strerror(errno.EADDRNOTAVAIL) in said


def test_an_address_for_all_without_a_certificate_is_wrong(folder, proc):
    where = around(folder, proc, grpc_bind="0.0.0.0:0")
    assert [verdict for verdict, _ in found(checks_network.addresses, where)] == [
        Verdict.FINE,
        Verdict.WRONG,
    ]


@pytest.mark.parametrize(
    ("days", "verdict"), [(90, Verdict.FINE), (10, Verdict.WARNING), (-1, Verdict.WRONG)]
)
def test_a_certificate_is_held_against_the_calendar(folder, proc, tmp_path, days, verdict):
    certificate, key = certificate_until(tmp_path, NOW + timedelta(days=days))
    where = around(folder, proc, tls_cert=certificate, tls_key=key)
    assert only(checks_network.certificate, where)[0] == verdict


def test_a_certificate_that_cannot_be_read_is_wrong_and_none_is_nothing(folder, proc, tmp_path):
    where = around(folder, proc, tls_cert=tmp_path / "no.pem", tls_key=tmp_path / "no.pem")
    assert only(checks_network.certificate, where)[0] == Verdict.WRONG
    assert found(checks_network.certificate, around(folder, proc)) == []


def certificate_until(folder: Path, ends: datetime) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(ends - timedelta(days=365))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return folder / "cert.pem", folder / "key.pem"


# What the controller says


def answer(*agents, version=__version__):
    return checks_agents.Answer(address="127.0.0.1:5", version=version, agents=agents)


def agent(name="a", *, state=AGENT_STATE_ONLINE, skew=0, version=__version__, **given):
    facts = AgentFacts(version=version)
    return Agent(name=name, state=state, clock_skew_ms=skew, facts=facts, **given)


def worst(*agents, version=__version__):
    """The verdict on each thing that is not fine."""
    findings = list(checks_agents.agents(answer(*agents, version=version)))
    return {each.check: each.verdict for each in findings if each.verdict != Verdict.FINE}


def test_agents_that_are_well_are_fine():
    assert worst(agent(), agent("b", skew=-900)) == {}


def test_agents_clocks_are_held_against_the_controllers():
    assert worst(agent(skew=2_500)) == {"agents' clocks": Verdict.WARNING}
    assert worst(agent(skew=-61_000)) == {"agents' clocks": Verdict.WRONG}
    assert worst(agent(skew=90_000, state=AGENT_STATE_OFFLINE), agent("b")) == {
        "agents": Verdict.WARNING
    }


def test_of_many_odd_clocks_the_worst_are_shown():
    told = list(checks_agents.agents(answer(*(agent(f"a{n}", skew=3_000 + n) for n in range(9)))))
    clocks = [each.message for each in told if each.check == "agents' clocks"]
    assert clocks[0].startswith("a8 is 3.0 s ahead of")
    assert clocks[-1] == "and 4 more"


def test_absent_agents_are_told_and_none_at_all_is_wrong():
    offline = agent("b", state=AGENT_STATE_OFFLINE)
    assert worst(agent(), offline) == {"agents": Verdict.WARNING}
    assert worst(offline) == {"agents": Verdict.WRONG}
    assert worst() == {"agents": Verdict.WARNING}


def test_other_versions_are_told_but_for_agents_of_somebodys_own():
    assert worst(agent(), version="0.0.9") == {
        "server": Verdict.WARNING,
        "agents' versions": Verdict.WARNING,
    }
    assert worst(agent(version="7", agent_type=AGENT_TYPE_CUSTOM)) == {}


# All of it


def test_a_check_that_fails_hides_no_other(folder, proc):
    def fails(where):
        raise PermissionError(errno.EACCES, "Permission denied", str(where.config.data_dir))

    checks = (("broken", fails), ("folder", checks_folder.data_folder))
    first, second = examination.examine(around(folder, proc), checks)
    assert (first.check, first.verdict) == ("broken", Verdict.WARNING)
    assert "Permission denied" in first.message
    assert second.verdict == Verdict.FINE


def test_a_host_that_is_well_has_nothing_wrong_and_nothing_is_left_behind(folder, proc, database):
    before = sorted(path.name for path in folder.iterdir())
    where = around(folder, proc, grpc_bind="127.0.0.1:0")
    wrong = [each for each in examination.examine(where) if each.verdict == Verdict.WRONG]
    assert wrong == []
    assert sorted(path.name for path in folder.iterdir()) == before
