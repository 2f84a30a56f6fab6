"""System accounts, made by the real useradd and groupadd below a prefix."""

from pathlib import Path

import pytest

from agent.linux.users import LinuxUsers
from tests.agent.linux.recorded import RunDouble
from units.errors import Fatal
from units.host import Account

ETCD = Account("etcd", 2379, 2379, "/var/lib/etcd", "/usr/sbin/nologin")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\nbroken line\nwww:x:33:33::/var/www:/bin/false\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nwww:x:33:\nadm:x:4:syslog,admin\n")
    return tmp_path


@pytest.mark.root
def test_an_account_is_created_with_its_group_and_numbers(root: Path) -> None:
    users = LinuxUsers(root)
    assert users.account("etcd") is None
    users.create(ETCD)
    assert users.account("etcd") == ETCD
    assert "etcd:x:2379:" in (root / "etc/group").read_text()
    assert not (root / "var/lib/etcd").exists(), "the home directory is the plan's business"
    users.create(ETCD)
    assert (root / "etc/passwd").read_text().count("\netcd:") == 1


@pytest.mark.root
def test_a_group_left_by_an_interrupted_run_is_used(root: Path) -> None:
    with (root / "etc/group").open("a") as group:
        group.write("etcd:x:2379:\n")
    LinuxUsers(root).create(ETCD)
    assert LinuxUsers(root).account("etcd") == ETCD


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("passwd", "other:x:2379:100::/:/bin/false", "user number 2379 belongs to 'other'"),
        ("passwd", "etcd:x:999:2379::/:/bin/false", "user 'etcd' exists with number 999"),
        ("group", "other:x:2379:", "group number 2379 belongs to 'other'"),
        ("group", "etcd:x:999:", "group 'etcd' exists with number 999"),
    ],
)
def test_a_number_or_name_that_is_taken_is_refused_before_anything_is_made(
    root: Path, file: str, line: str, said: str
) -> None:
    with (root / "etc" / file).open("a") as accounts:
        accounts.write(f"{line}\n")
    run = RunDouble(lambda _arguments: "")
    with pytest.raises(Fatal, match=said) as taken:
        LinuxUsers(root, run).create(ETCD)
    assert taken.value.code == "account-number-taken"
    assert run.asked == []


def test_on_the_machine_itself_no_prefix_is_given() -> None:
    run = RunDouble(lambda _arguments: "")
    LinuxUsers("/", run).create(Account("bootwright-test", 64321, 64321, "/nonexistent", "/usr/sbin/nologin"))
    assert [arguments[0] for arguments in run.asked] == ["groupadd", "useradd"]
    assert not any("--prefix" in arguments for arguments in run.asked)


def test_this_machines_root_is_known() -> None:
    found = LinuxUsers().account("root")
    assert found is not None
    assert (found.name, found.uid, found.gid) == ("root", 0, 0)
