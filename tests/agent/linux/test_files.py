"""Files on the machine and in a sandbox."""

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent.linux import files as module
from agent.linux.atomic import explained, replacing
from agent.linux.files import LinuxFiles
from units.errors import Fatal, Retryable
from units.host import FileState


@pytest.fixture
def files(tmp_path: Path) -> LinuxFiles:
    return LinuxFiles(tmp_path, own=False)


def write(files: LinuxFiles, path: str, content: bytes = b"x", mode: int = 0o644, owner: str = "root") -> None:
    files.write(path, content, mode=mode, owner=owner, group=owner)


def test_what_was_written_is_read_back(files: LinuxFiles) -> None:
    write(files, "/etc/kubernetes/x.conf", b"content", 0o640, "etcd")
    assert files.read("/etc/kubernetes/x.conf") == FileState("file", 0o640, "etcd", "etcd", b"content")


def test_nothing_is_read_as_nothing(files: LinuxFiles) -> None:
    write(files, "/a/file")
    for path in ("/none", "/none/below", "/a/file/below"):
        assert files.read(path) is None
        assert files.digest(path) is None
        assert files.list(path) == []
        files.remove(path)


def test_mode_is_exact_whatever_the_umask(files: LinuxFiles) -> None:
    before = os.umask(0o077)
    try:
        write(files, "/open/by/all", mode=0o666)
        files.make_directory("/shared", mode=0o1777, owner="root", group="root")
    finally:
        os.umask(before)
    assert files.read("/open/by/all").mode == 0o666
    assert files.read("/open").mode == 0o755
    assert files.read("/shared").mode == 0o1777


def test_a_secret_never_lies_open_under_any_name(files: LinuxFiles, tmp_path: Path) -> None:
    """Mode before content: at no moment does a file with the secret in it have another mode."""
    (tmp_path / "pki").mkdir()
    seen = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for entry in os.scandir(tmp_path / "pki"):
                try:
                    found = entry.stat()
                except FileNotFoundError:
                    continue
                if found.st_size:
                    seen.add(stat.S_IMODE(found.st_mode))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(60):
        write(files, "/pki/key", b"secret" * 1000, 0o400)
    done.set()
    watcher.join()
    assert seen == {0o400}


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(files: LinuxFiles, tmp_path: Path) -> None:
    write(files, "/a", b"old")
    inode = (tmp_path / "a").stat().st_ino
    write(files, "/a", b"new")
    assert (tmp_path / "a").stat().st_ino != inode
    assert [path.name for path in tmp_path.iterdir() if path.name != ".bootwright-owners"] == ["a"]


def test_a_reader_who_has_the_file_open_keeps_the_old_one(files: LinuxFiles, tmp_path: Path) -> None:
    write(files, "/a", b"old")
    with (tmp_path / "a").open("rb") as reader:
        write(files, "/a", b"new")
        assert reader.read() == b"old"


def test_left_overs_of_an_interrupted_write_are_hidden_and_swept_by_the_next(files: LinuxFiles, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    stale = tmp_path / "manifests/.etcd.json.tmp-0123456789abcdef"
    stale.write_text("half")
    other = tmp_path / "manifests/.api.json.tmp-0123456789abcdef"
    other.write_text("half")
    assert files.list("/manifests") == []
    write(files, "/manifests/etcd.json")
    assert not stale.exists()
    assert other.exists()
    assert files.list("/manifests") == ["etcd.json"]


def test_other_hidden_files_are_neither_hidden_nor_swept(files: LinuxFiles, tmp_path: Path) -> None:
    for name in (".a.tmp-xyz", ".a.tmp-0123456789ABCDEF", "a.tmp-0123456789abcdef", ".hidden"):
        (tmp_path / name).write_text("mine")
    write(files, "/a")
    assert set(files.list("/")) >= {".a.tmp-xyz", ".a.tmp-0123456789ABCDEF", "a.tmp-0123456789abcdef", ".hidden", "a"}


def test_kubelet_never_sees_a_manifest_before_it_is_whole(files: LinuxFiles, tmp_path: Path) -> None:
    """kubelet reads `[^.]*` of its manifest directory."""
    (tmp_path / "manifests").mkdir()
    seen = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.update(entry.name for entry in (tmp_path / "manifests").iterdir() if not entry.name.startswith("."))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(60):
        write(files, "/manifests/etcd.json", b"{}")
    done.set()
    watcher.join()
    assert seen <= {"etcd.json"}


def test_a_very_long_name_still_has_room_for_its_temporary(files: LinuxFiles) -> None:
    name = "/" + "n" * 255
    write(files, name, b"fits")
    assert files.read(name).content == b"fits"


WRITER = """
import sys
from agent.linux.files import LinuxFiles
files = LinuxFiles(sys.argv[1], own=False)
print("ready", flush=True)
while True:
    for letter in b"ab":
        files.write("/state", bytes([letter]) * 300_000, mode=0o600, owner="root", group="root")
"""


def test_sigkill_at_any_moment_leaves_the_old_file_or_the_new_one(files: LinuxFiles, tmp_path: Path) -> None:
    chance = random.Random(11)
    whole = {b"a" * 300_000, b"b" * 300_000}
    write(files, "/state", b"a" * 300_000, 0o600)
    interrupted = 0
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        state = files.read("/state")
        assert state.content in whole
        assert state.mode == 0o600
        left = [path for path in tmp_path.iterdir() if path.name.startswith(".state.tmp-")]
        assert len(left) <= 1, "each run sweeps what the one before left"
        interrupted += bool(left)
    assert interrupted, "not one of the kills came in the middle of a write"
    write(files, "/state", b"c")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".state.tmp-")]


@pytest.mark.root
def test_the_order_of_system_calls_outlives_a_power_cut(tmp_path: Path) -> None:
    """Owner and mode, then content, then fsync, then rename, then fsync of the directory: the order is the promise."""
    code = "import sys; from agent.linux.files import LinuxFiles as F; F(sys.argv[1]).write('/k', b'secret', "
    code += "mode=0o640, owner='daemon', group='daemon')"
    trace = tmp_path / "trace"
    calls = "trace=fchown,fchmod,write,fsync,rename,renameat"
    command = ["strace", "-qq", "-o", trace, "-e", calls, sys.executable, "-c", code, tmp_path]
    subprocess.run(command, check=True)
    seen = [line.split("(")[0] for line in trace.read_text().splitlines()]
    assert seen == ["fchown", "fchmod", "write", "fsync", "renameat", "fsync"]


def test_readers_during_writes_see_whole_files_only(files: LinuxFiles, tmp_path: Path) -> None:
    whole = {b"a" * 300_000, b"b" * 300_000}
    write(files, "/state", b"a" * 300_000, 0o600)
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        seen = set()
        for _ in range(100_000):
            content = files.read("/state").content
            assert content in whole
            seen.add(content[:1])
            if seen == {b"a", b"b"}:
                break
    finally:
        child.kill()
        child.wait()
    assert seen == {b"a", b"b"}


def test_a_symlink_is_read_as_one_and_never_followed(files: LinuxFiles, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("content")
    files.symlink("/link", "/secret")
    state = files.read("/link")
    assert (state.kind, state.target, state.content) == ("symlink", "/secret", None)
    assert files.digest("/link") is None
    write(files, "/link", b"a file now")
    assert files.read("/link").kind == "file"
    assert (tmp_path / "secret").read_text() == "content"


def test_a_symlink_is_replaced_atomically(files: LinuxFiles) -> None:
    files.symlink("/current", "generations/1")
    files.symlink("/current", "generations/2")
    assert files.read("/current").target == "generations/2"
    write(files, "/file")
    files.symlink("/file", "current")
    assert files.read("/file").kind == "symlink"


def test_attributes_of_a_symlink_are_nobodys_to_set(files: LinuxFiles) -> None:
    files.symlink("/link", "/elsewhere")
    with pytest.raises(Fatal, match="set the attributes of /link"):
        files.set_attributes("/link", mode=0o600, owner="root", group="root")


def test_attributes_change_without_touching_the_content(files: LinuxFiles, tmp_path: Path) -> None:
    write(files, "/a", b"content", 0o600)
    inode = (tmp_path / "a").stat().st_ino
    files.set_attributes("/a", mode=0o644, owner="etcd", group="etcd")
    assert files.read("/a") == FileState("file", 0o644, "etcd", "etcd", b"content")
    assert (tmp_path / "a").stat().st_ino == inode


def test_a_directory_is_made_with_its_parents_and_made_again_without_harm(files: LinuxFiles, tmp_path: Path) -> None:
    for mode in (0o700, 0o750):
        files.make_directory("/var/lib/etcd/main", mode=mode, owner="etcd", group="etcd")
        assert files.read("/var/lib/etcd/main") == FileState("directory", mode, "etcd", "etcd")
        (tmp_path / "var/lib/etcd/main/kept").touch()
    assert files.read("/var/lib").mode == 0o755
    assert files.list("/var/lib/etcd/main") == ["kept"]


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_is_no_directory_is_not_replaced_by_one(files: LinuxFiles, kind: str) -> None:
    write(files, "/a") if kind == "file" else files.symlink("/a", "/b")
    with pytest.raises(Fatal, match="something else lies there") as wrong:
        files.make_directory("/a", mode=0o755, owner="root", group="root")
    assert wrong.value.code == "path-not-a-directory"


def test_a_file_does_not_replace_a_directory(files: LinuxFiles) -> None:
    write(files, "/a/b")
    with pytest.raises(Fatal, match="cannot write /a: Is a directory"):
        write(files, "/a")
    assert files.list("/a") == ["b"]
    assert [name for name in files.list("/") if "tmp" in name] == []


def test_a_large_file_is_installed_and_hashed(files: LinuxFiles, tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "asset").write_bytes(content)
    files.install("/asset", "/usr/local/bin/kubelet", mode=0o755)
    assert files.read("/usr/local/bin/kubelet").mode == 0o755
    assert files.digest("/usr/local/bin/kubelet") == files.digest("/asset")
    assert (tmp_path / "usr/local/bin/kubelet").read_bytes() == content


def test_a_source_that_is_not_there_is_named(files: LinuxFiles) -> None:
    with pytest.raises(Fatal, match="cannot read /none"):
        files.install("/none", "/usr/local/bin/kubelet", mode=0o755)
    assert files.read("/usr/local/bin/kubelet") is None


def test_a_running_program_can_be_replaced(files: LinuxFiles, tmp_path: Path) -> None:
    sleep = Path("/bin/sleep").resolve().read_bytes()
    (tmp_path / "asset").write_bytes(sleep)
    files.install("/asset", "/bin/agent", mode=0o755)
    running = subprocess.Popen([tmp_path / "bin/agent", "60"])
    try:
        (tmp_path / "asset").write_bytes(sleep + b"newer")
        files.install("/asset", "/bin/agent", mode=0o755)
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()


def test_removing_twice_is_removing(files: LinuxFiles) -> None:
    write(files, "/a")
    files.remove("/a")
    files.remove("/a")
    assert files.read("/a") is None
    files.symlink("/link", "/nowhere")
    files.remove("/link")
    assert files.read("/link") is None


def test_a_directory_is_not_removed_by_mistake(files: LinuxFiles) -> None:
    write(files, "/a/b")
    with pytest.raises(Fatal, match="cannot remove /a"):
        files.remove("/a")


def test_other_kinds_of_files_are_named_other(files: LinuxFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert files.read("/fifo") == FileState("other", 0o644, "root", "root")
    assert files.digest("/fifo") is None


def test_a_file_too_large_to_compare_has_no_content(files: LinuxFiles, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(module.READ_LIMIT + 1)
    assert files.read("/huge").content is None
    assert files.read("/huge").kind == "file"


@pytest.mark.parametrize("path", ["relative", "", "/a/../../b", "/..", "/a\0b"])
def test_a_path_that_could_lead_elsewhere_is_refused(files: LinuxFiles, path: str) -> None:
    with pytest.raises(Fatal, match="absolute path") as wrong:
        files.read(path)
    assert wrong.value.code == "path-invalid"


def test_a_sandbox_is_never_left_through_symlinks(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    outside.mkdir()
    (root / "absolute").symlink_to(outside)
    (root / "climbing").symlink_to("../../../../../../../../../.." + str(outside))
    (root / "chain").symlink_to("/absolute/deeper")
    files = LinuxFiles(root, own=False)
    for link in ("absolute", "climbing", "chain"):
        write(files, f"/{link}/planted")
        files.make_directory(f"/{link}/directory", mode=0o755, owner="root", group="root")
        files.symlink(f"/{link}/symlink", "x")
    assert list(outside.iterdir()) == []
    assert (root / str(outside).lstrip("/") / "planted").exists(), "as chroot would resolve it"


def test_symlinked_directories_inside_a_sandbox_work_as_on_a_machine(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "lib64").symlink_to("/lib")
    files = LinuxFiles(tmp_path, own=False)
    write(files, "/lib64/systemd/unit")
    assert (tmp_path / "usr/lib/systemd/unit").exists()
    assert files.read("/lib/systemd/unit") == files.read("/usr/lib/systemd/unit")


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/usr/lib", "usr/lib"),
        ("../lib", "deep/lib"),
        ("../../../../lib", "lib"),
        ("./lib/../../usr", "deep/usr"),
        ("/../usr/./lib/", "usr/lib"),
    ],
)
def test_a_symlink_in_a_sandbox_leads_where_chroot_would(tmp_path: Path, target: str, leads_to: str) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/link").symlink_to(target)
    write(LinuxFiles(tmp_path, own=False), "/deep/er/link/file")
    assert (tmp_path / leads_to / "file").is_file()


def test_a_loop_of_symlinks_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Fatal, match="more than 40 symlinks"):
        LinuxFiles(tmp_path, own=False).read("/a/x")


def test_a_second_run_in_a_sandbox_finds_the_owners_of_the_first(tmp_path: Path) -> None:
    write(LinuxFiles(tmp_path, own=False), "/var/lib/etcd/key", owner="etcd")
    second = LinuxFiles(tmp_path, own=False)
    assert second.read("/var/lib/etcd/key").owner == "etcd"
    assert second.read("/var").owner == "root"
    write(second, "/var/lib/etcd/key", owner="root")
    assert LinuxFiles(tmp_path, own=False).read("/var/lib/etcd/key").owner == "root"


def test_an_owner_whom_the_machine_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"/key should belong to user 'no-such-user'") as unknown:
        write(LinuxFiles(tmp_path), "/key", owner="no-such-user")
    assert unknown.value.code == "account-missing"
    assert not (tmp_path / "key").exists()


@pytest.mark.root
def test_owners_are_real_where_the_machine_is(tmp_path: Path) -> None:
    files = LinuxFiles(tmp_path)
    write(files, "/key", mode=0o4750, owner="daemon")
    found = (tmp_path / "key").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1, 1, 0o4750)
    assert (files.read("/key").owner, files.read("/key").group) == ("daemon", "daemon")
    files.make_directory("/made/below", mode=0o700, owner="54321", group="54321")
    assert files.read("/made/below").owner == "54321"
    assert files.read("/made").owner == "root"
    files.set_attributes("/made/below", mode=0o755, owner="root", group="daemon")
    assert (files.read("/made/below").owner, files.read("/made/below").group) == ("root", "daemon")


@pytest.mark.root
def test_a_full_disk_is_fatal_keeps_the_old_file_and_names_the_bytes(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        files = LinuxFiles(tmp_path, own=False)
        write(files, "/a", b"old")
        with pytest.raises(Fatal, match=r"cannot write /a \(1000000 bytes needed\): No space left") as full:
            write(files, "/a", bytes(1_000_000))
        assert full.value.code == "disk-full"
        assert files.read("/a").content == b"old"
        assert [path.name for path in tmp_path.iterdir() if "tmp-" in path.name] == []
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(Fatal, match="Read-only") as frozen:
            write(files, "/a", b"new")
        assert frozen.value.code == "read-only-file-system"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.root
def test_an_immutable_directory_is_explained(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    subprocess.run(["chattr", "+i", tmp_path / "mount"], check=True)
    try:
        with pytest.raises(Fatal) as denied:
            write(LinuxFiles(tmp_path, own=False), "/mount/data")
        assert denied.value.code == "permission-denied"
        assert "lsattr" in denied.value.remedy
    finally:
        subprocess.run(["chattr", "-i", tmp_path / "mount"], check=True)


def test_two_agents_writing_one_file_at_once_lose_no_content(files: LinuxFiles, tmp_path: Path) -> None:
    """The second sweeps the first one's temporary: the first must hear of it, and its file is the second's, whole."""

    def first_with_the_second_in_its_midst() -> None:
        with replacing(tmp_path / "a", mode=0o644, ids=None) as first:
            first.write(b"first")
            write(files, "/a", b"second")

    with pytest.raises(Retryable) as raced:
        first_with_the_second_in_its_midst()
    assert raced.value.code == "write-raced"
    assert files.read("/a").content == b"second"


def test_errors_of_ours_pass_through_an_explanation_unchanged() -> None:
    original = Fatal("some-code", "text")
    with pytest.raises(Fatal) as same, explained("write", "/a"):
        raise original
    assert same.value is original
    with pytest.raises(Fatal) as other, explained("write", "/a"):
        raise OSError(errno.EIO, "ignored")
    assert (other.value.code, str(other.value)) == ("file-failed", "cannot write /a: Input/output error")


def test_what_a_write_that_was_cut_off_left_goes_with_its_file_or_with_all_of_its_directory(
    files: LinuxFiles, tmp_path: Path
) -> None:
    write(files, "/d/whole")
    left = [tmp_path / "d" / f".{name}.tmp-{'0' * 16}" for name in ("whole", "absent", "other")]
    for path in left:
        path.write_bytes(b"half")
    files.remove("/d/whole")
    files.remove("/d/absent")
    assert [path.name for path in (tmp_path / "d").iterdir()] == [left[2].name]
    write(files, "/d/.hidden.tmp")
    files.sweep("/d")
    files.sweep("/nowhere")
    assert [path.name for path in (tmp_path / "d").iterdir()] == [".hidden.tmp"]


def test_a_directory_on_the_way_is_open_from_its_first_moment(files: LinuxFiles, monkeypatch: Any) -> None:
    """With its mode after it, a power cut in between would leave it closed to all but root, for good."""

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = os.umask(0o022)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "chmod", cut_off)
            with pytest.raises(KeyboardInterrupt):
                write(files, "/on/the/way")
    finally:
        os.umask(before)
    assert files.read("/on").mode == 0o755
