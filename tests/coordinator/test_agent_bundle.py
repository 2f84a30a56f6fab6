"""The agent for images that were not baked: one file, always the same bytes, and installed only if it is those."""

import hashlib
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.aws.credentials import Credentials
from agent.aws.s3 import Bucket
from agent.aws.sigv4 import sign
from coordinator import on_stock_image
from coordinator.agent_bundle import make_bundle
from coordinator.assets import read_catalogue, record, upload_all
from coordinator.documents import AgentBundle
from coordinator.layout import asset_key
from coordinator.store import no_progress
from tests.coordinator.workshop import Workshop
from units.errors import Invalid

COMPILED = "psutil-7.2.2-cp313-cp313-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"


def wheel(folder: Path, name: str, **files: str) -> Path:
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, text in (files or {"module.py": "VALUE = 1\n"}).items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return folder / name


def lock(folder: Path) -> None:
    wheels = [path for path in sorted(folder.glob("*.whl")) if not path.name.startswith("bootwright")]
    hashes = [f"{path.name.split('-')[0]}==1 --hash=sha256:{sha256(path)}\n" for path in wheels]
    (folder / "requirements.txt").write_text("".join(hashes))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, COMPILED, **{"psutil.py": "VERSION = 7\n"})
    wheel(
        folder,
        "bootwright-0.1.0-py3-none-any.whl",
        **{"agent/__init__.py": "", "agent/__main__.py": "import psutil, sys\nprint(psutil.VERSION, *sys.argv[1:])\n"},
    )
    lock(folder)
    return folder


@pytest.fixture
def packer(tmp_path: Path) -> Path:
    folder = tmp_path / "packer"
    unit = folder / "rootfs/etc/systemd/system/bootwright-boot.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    (folder / "install.sh").write_text("#!/bin/bash\n")
    (folder / "install.sh").chmod(0o755)
    for name in ("node.pkr.hcl", ".cache/of-a-tool", "assets/kubelet"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not for a node\n")
    return folder


def test_the_same_wheels_make_the_same_bytes_whenever_and_wherever(
    wheelhouse: Path, packer: Path, tmp_path: Path
) -> None:
    first = make_bundle(wheelhouse, packer, tmp_path / "first.tar").entry
    for path in (*wheelhouse.iterdir(), *packer.rglob("*.service")):
        path.touch()
    second = make_bundle(wheelhouse, packer, tmp_path / "second.tar").entry
    assert first == second
    assert isinstance(first, AgentBundle)
    assert (first.platform, first.version, first.sha256) == ("3.13-x86_64", "0.1.0", sha256(tmp_path / "first.tar"))
    wheel(wheelhouse, COMPILED, **{"psutil.py": "VERSION = 8\n"})
    lock(wheelhouse)
    assert make_bundle(wheelhouse, packer, tmp_path / "third.tar").entry != first


def test_what_is_no_wheelhouse_is_named_with_everything_that_is_wrong_in_it(
    wheelhouse: Path, packer: Path, tmp_path: Path
) -> None:
    wheel(wheelhouse, COMPILED, **{"psutil.py": "changed since it was locked\n"})
    wheel(wheelhouse, "grpcio-1.0-cp312-cp312-linux_x86_64.whl")
    lock_before = (wheelhouse / "requirements.txt").read_text()
    wheel(wheelhouse, "tool-1.0-py3-none-any.whl", **{"tool-1.0.data/data/etc/tool.conf": "x"})
    (wheelhouse / "requirements.txt").write_text(lock_before + f"--hash=sha256:{sha256(wheelhouse / COMPILED)}")
    with pytest.raises(Invalid) as invalid:
        make_bundle(wheelhouse, packer, tmp_path / "bundle.tar")
    said = "\n".join(str(problem) for problem in invalid.value.problems)
    assert invalid.value.code == "wheelhouse-invalid"
    assert "grpcio-1.0-cp312-cp312-linux_x86_64.whl: its sha256 is not in requirements.txt" in said
    assert "psutil" not in said
    assert "tool-1.0-py3-none-any.whl: holds tool-1.0.data/data" in said
    assert "compiled for cp312, cp313 on x86_64" in said


def test_a_folder_without_packers_files_is_refused(wheelhouse: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"holds no install\.sh"):
        make_bundle(wheelhouse, tmp_path, tmp_path / "bundle.tar")


def test_a_published_bundle_lies_under_its_hash_and_in_no_nodes_manifest(
    workshop: Workshop, wheelhouse: Path, packer: Path, tmp_path: Path
) -> None:
    upload = make_bundle(wheelhouse, packer, tmp_path / "bundle.tar")
    upload_all(workshop.store, [upload], lambda _path, _size: no_progress)
    assert record(workshop.repository, workshop.signing, [upload.entry], by="tests") is not None
    assert record(workshop.repository, workshop.signing, [upload.entry], by="tests") is None, "twice changes nothing"
    stored = workshop.store.get(asset_key(upload.entry.sha256))
    assert stored is not None
    assert stored.body == (tmp_path / "bundle.tar").read_bytes()
    found = read_catalogue(workshop.repository, workshop.repository.read())
    assert found.newest_agents == (upload.entry,)
    assert found.catalogue().assets == ()


def test_userdata_names_the_newest_of_each_platform() -> None:
    from coordinator.documents import AssetsDocument

    def bundle(python: str, digit: str) -> AgentBundle:
        return AgentBundle(python=python, machine="x86_64", version="1", sha256=digit * 64, size=1)

    document = AssetsDocument()
    for one in (bundle("3.13", "a"), bundle("3.12", "b"), bundle("3.13", "c")):
        document = document.with_agent(one)
    assert [one.sha256[0] for one in document.newest_agents] == ["b", "c"]
    assert [one.sha256[0] for one in document.with_agent(bundle("3.13", "a")).newest_agents] == ["b", "a"]


# --- on the machine


def test_its_signature_is_the_one_that_the_agents_own_makes() -> None:
    now = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
    url = "https://bucket.s3.eu-west-1.amazonaws.com/prod/assets/sha256/ab/abcd"
    ours = on_stock_image.signed(
        url, "eu-west-1", {"AccessKeyId": "AKID", "SecretAccessKey": "secret", "Token": "token"}, "20260601T120000Z"
    )
    credentials = Credentials("AKID", "secret", "token", now + timedelta(hours=1), "tests")
    assert ours == sign("GET", url, headers={}, body=b"", credentials=credentials, scope=("eu-west-1", "s3"), now=now)


@pytest.mark.parametrize("endpoint", [None, "http://10.99.0.1:5000/"])
@pytest.mark.parametrize("bucket", ["clusters", "clusters.example.com"])
@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1"])
def test_it_asks_where_the_agent_would(bucket: str, region: str, endpoint: str | None) -> None:
    asked = {"bucket": bucket, "prefix": "prod/", "endpoint": endpoint}
    expected = Bucket(bucket, region, endpoint).url(f"prod/{asset_key('ab' * 32)}")
    assert on_stock_image.url_of(asked, region, "ab" * 32) == expected


class StoreServerDouble(http.server.BaseHTTPRequestHandler):
    """Answers with BODY; /moved sends the caller elsewhere, /denied refuses."""

    BODY = b"a bundle" * 1000

    def do_GET(self) -> None:
        status = {"/denied": 403, "/moved": 307}.get(self.path, 200)
        self.send_response(status)
        if status == 307:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.BODY)))
        self.end_headers()
        self.wfile.write(self.BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), StoreServerDouble) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_only_the_bytes_that_the_userdata_names_are_taken(store_url: str, tmp_path: Path) -> None:
    body, target = StoreServerDouble.BODY, tmp_path / "bundle"
    digest = hashlib.sha256(body).hexdigest()
    on_stock_image.fetch(f"{store_url}/bundle", {}, digest, len(body), target)
    assert target.read_bytes() == body
    for wrong_digest, wrong_size in (("0" * 64, len(body)), (digest, len(body) - 1), (digest, len(body) + 1)):
        with pytest.raises(ValueError, match="is not what the userdata names"):
            on_stock_image.fetch(f"{store_url}/bundle", {}, wrong_digest, wrong_size, target)


@pytest.mark.parametrize("path", ["denied", "moved"])
def test_a_refusal_and_a_redirect_are_no_bundle(store_url: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(OSError, match=r"HTTP (403|307)"):
        on_stock_image.fetch(f"{store_url}/{path}", {}, "0" * 64, 1, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_agent_runs_from_what_was_installed_and_again_after_half_an_installation(
    wheelhouse: Path, packer: Path, tmp_path: Path
) -> None:
    bundle, home, root = tmp_path / "bundle.tar", tmp_path / "home", tmp_path / "root"
    make_bundle(wheelhouse, packer, bundle)
    (home / "venv.new/lib").mkdir(parents=True)
    (home / "bundle/wheels").mkdir(parents=True)
    (home / "bundle/wheels/left-over.whl").write_text("of a try that was cut off")
    on_stock_image.install(bundle, home, root)
    done = subprocess.run([root / "usr/local/bin/agent", "boot"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("7 boot\n", "")
    assert (root / "etc/systemd/system/bootwright-boot.service").read_text() == "[Unit]\n"
    assert (home / "bundle/packer/install.sh").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in (home / "bundle/packer").iterdir()) == ["install.sh", "rootfs"]
    assert not (home / "bundle/wheels").exists(), "their content is in the venv"


def test_a_machine_of_another_python_says_which_one_the_userdata_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        on_stock_image.install_from_store({"bundles": {"3.99-riscv": ["0" * 64, 1]}})
    assert "the userdata names bundles for 3.99-riscv" in str(ended.value)
