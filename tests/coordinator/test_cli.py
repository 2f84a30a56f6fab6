"""The command line as a person meets it: help that teaches, errors that help, exit codes that scripts can rely on."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.aws.session import Aws
from coordinator.cli import run
from tests.coordinator.workshop import CLUSTER, PASSPHRASE, Workshop
from units.status import Condition, NodeStatus, encode_status

pytestmark = pytest.mark.slow  # whole commands over moto

COMMANDS = [
    ["init"],
    ["publish"],
    ["history"],
    ["userdata"],
    ["refresh"],
    ["status"],
    ["kubeconfig"],
    ["local-key"],
    ["schema"],
    ["template"],
    ["assets"],
    ["assets", "add"],
    ["assets", "list"],
]
SPEC = """\
apiVersion: bootwright.io/v1
kind: Cluster
metadata:
  name: {name}
kubernetesVersion: 1.36.2
region: eu-west-1
store: s3://{bucket}/clusters
network:
  vpc: vpc-0a1b2c3d4e5f60718
  cidr: 10.98.0.0/20
  subnets:
    - zone: eu-west-1a
      id: subnet-0a1b2c3d4e5f60718
api:
  endpoint: api.prod.example.com
instanceGroups:
  - name: control-plane-a
    role: control-plane
    machineType: m7g.large
    image: ami-0a1b2c3d4e5f60718
  - name: workers
    role: node
    machineType: m7g.large
    image: ami-0a1b2c3d4e5f60718
aws:
  endpointURL: {endpoint}
"""

Cli = Callable[..., int]


@pytest.fixture
def desk(tmp_path: Path, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with cluster.yaml in it, for a bucket that does not exist yet."""
    bucket = f"b-{tmp_path.name.replace('_', '-')[:40]}-{abs(hash(str(tmp_path)))}"[:60]
    spec = SPEC.format(name=CLUSTER, bucket=bucket, endpoint=aws.endpoint_url)
    (tmp_path / "cluster.yaml").write_text(spec)
    (tmp_path / "kubelet").write_bytes(b"kubelet" * 1000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOTWRIGHT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE", PASSPHRASE)
    return tmp_path


@pytest.fixture
def founded(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A cluster in a directory, named by the environment; the store's root is the parent of the cluster's folder."""
    (tmp_path / "stores").mkdir()
    (tmp_path / "store").rename(tmp_path / "stores" / CLUSTER)
    monkeypatch.setenv("BOOTWRIGHT_STORE", f"file://{tmp_path / 'stores'}")
    monkeypatch.setenv("BOOTWRIGHT_CLUSTER", CLUSTER)
    monkeypatch.setenv("BOOTWRIGHT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE", PASSPHRASE)
    return workshop


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_every_command_has_help_and_the_help_has_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: coordinator" in text
    if command != ["assets"]:
        assert "coordinator " + " ".join(command) in text.replace("Usage: coordinator", "")


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    # typer itself imports pydantic; everything else is ours to avoid.
    code = """
import sys
from coordinator.cli import run
run(["publish", "--help"])
sys.exit(str({"boto3", "botocore", "tuf", "cryptography", "yaml"} & set(sys.modules) or ""))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.stderr.strip() == ""


def test_from_an_empty_account_to_a_launch_template(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The main job, over S3: look, publish, look again, change, publish, history, user-data."""
    assert run(["init", "--create-bucket"]) == 0
    assert sorted(file.name for file in (desk / "keys").glob("*.pem")) == [
        "online.pem",
        "root-1.pem",
        "secrets.pem",
        "targets.pem",
    ]
    assert run(["publish"]) == 2
    assert "coordinator assets add" in capsys.readouterr().err
    assert run(["assets", "add", "kubelet"]) == 0
    capsys.readouterr()
    assert run(["assets", "list", "--json"]) == 0
    (asset,) = json.loads(capsys.readouterr().out)["assets"]
    assert (asset["name"], asset["path"], asset["size"]) == ("kubelet", "/usr/local/bin/kubelet", 7000)

    assert run(["publish"]) == 0
    shown = capsys.readouterr()
    assert "group control-plane-a  new" in shown.out
    assert "nothing was published" in shown.err
    assert run(["publish", "--detailed-exitcode"]) == 5
    assert run(["publish", "--yes"]) == 0
    assert "published serial 1" in capsys.readouterr().err
    assert run(["publish", "--detailed-exitcode"]) == 0
    assert "nothing to publish" in capsys.readouterr().err

    spec = (desk / "cluster.yaml").read_text()
    (desk / "cluster.yaml").write_text(
        spec.replace("  - name: workers\n", "  - name: workers\n    labels: {pool: a}\n")
    )
    assert run(["publish", "--yes", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["published"], document["serial"], document["unchanged"]) == (True, 2, 1)
    (change,) = document["changes"]
    assert (change["group"], change["change"]) == ("workers", "changed")
    assert any("pool" in line for item in change["items"] for line in item["lines"])

    assert run(["history", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["serial"] for entry in entries] == [2, 1, 0, 0]
    assert entries[0]["groups"] == [{"group": "workers", "change": "changed", "serial": 2}]
    assert run(["userdata", "workers"]) == 0
    assert capsys.readouterr().out.startswith("#cloud-config\nruncmd: [[agent, enroll, ")
    assert run(["refresh"]) == 0
    assert run(["status"]) == 0
    assert "no node has written a status yet" in capsys.readouterr().err


def test_the_local_key_is_written_as_a_node_reads_it_and_nowhere_in_the_key_directory(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from agent.secrets import read_local_key

    assert run(["init", "--create-bucket", "--local-key"]) == 0
    assert run(["local-key", "--out", "secrets.key"]) == 0
    named = next(word for word in capsys.readouterr().err.split() if word.startswith("local:")).rstrip(";")
    assert len(read_local_key(desk / "secrets.key", named=named)) == 32
    assert run(["local-key", "--out", "secrets.key"]) == 2  # never over an existing file
    assert run(["local-key", "--out", "keys/secrets.key"]) == 2
    assert not (desk / "keys" / "secrets.key").exists()


def test_init_again_is_refused_with_what_to_do_next(founded: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init"]) == 3
    text = capsys.readouterr().err
    assert "was initialised" in text
    assert "what to do:" in text


def test_a_missing_bucket_is_said_before_any_key_is_made(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init"]) == 2
    assert "--create-bucket" in capsys.readouterr().err
    assert not (desk / "keys").exists()


def test_an_error_shows_its_code_its_problems_and_its_remedy(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "cluster.yaml").write_text("apiVersion: bootwright.io/v1\nkind: Cluster\nmetadata: {name: '[bold]x'}\n")
    assert run(["publish"]) == 2
    text = capsys.readouterr().err
    assert "error: " in text
    assert "(spec-invalid)" in text
    assert "region" in text
    assert "kubernetesVersion" in text  # all of them at once
    assert "[bold]x" in text  # markup in an input is text


def test_a_wrong_passphrase_ends_with_3_and_publishes_nothing(
    founded: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE", "not the right one")
    assert run(["refresh"]) == 3
    text = capsys.readouterr().err
    assert "(passphrase-wrong)" in text
    assert "not the right one" not in text


def test_a_tampered_repository_ends_with_3(founded: Workshop, tmp_path: Path) -> None:
    timestamp = tmp_path / "stores" / CLUSTER / "tuf/metadata/timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"version":1', b'"version":9'))
    assert run(["history"]) == 3


def test_an_unreachable_store_ends_with_4(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--endpoint-url", "http://127.0.0.1:9"]) == 4
    assert "aws-unreachable" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["publsh"],
        ["publish", "--no-such-option"],
        ["userdata"],
        ["assets", "add"],
        ["assets", "add", "missing-file"],
        ["assets", "add", "a", "b", "--name", "x"],
        ["assets", "add", "kubelet", "--mode", "rwx"],
        ["init", "--kms", "arn:aws:kms:eu-west-1:1:key/a", "--local-key"],
        ["init", "--threshold", "3", "--root-keys", "2"],
        ["init", "--threshold", "0"],
        ["history", "--limit", "0"],
        ["template", "x.j2"],
        ["status", "--store", "bucket", "--cluster", "prod"],
        ["status", "--store", "s3://bucket"],
        ["publish", "-f", "no-such-file.yaml"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_one_explanation(
    desk: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if "--cluster" in arguments or arguments == ["status", "--store", "s3://bucket"]:
        (desk / "cluster.yaml").unlink()
    assert run(arguments) == 2
    text = capsys.readouterr().err
    assert text.count("error: ") == 1
    assert "Traceback" not in text


def test_without_any_cluster_it_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["status"]) == 2
    assert "-f cluster.yaml" in capsys.readouterr().err


def test_an_unforeseen_error_is_one_line_and_asks_for_a_report(
    founded: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys" / "init.json").unlink()
    (tmp_path / "keys" / "init.json").mkdir()  # nobody foresaw a directory here, or somebody did: either is one line
    assert run(["init"]) in (1, 3)
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert text.count("error: ") == 1


def test_the_table_of_nodes_shows_the_reason_and_json_the_whole_status(
    founded: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    condition = Condition(code="no-imds", message="169.254.169.254 does not answer", since="2026-01-01T00:00:00Z")
    status = NodeStatus(instance_id="i-1", group="workers", stage="retrying", conditions=(condition,))
    folder = tmp_path / "stores" / CLUSTER / "status"
    folder.mkdir()
    (folder / "i-1.json").write_bytes(encode_status(status))
    assert run(["status"]) == 0
    assert "no-imds: 169.254.169.254 does not answer" in capsys.readouterr().out
    assert run(["status", "--json"]) == 0
    (node,) = json.loads(capsys.readouterr().out)["nodes"]
    assert node["status"]["stage"] == "retrying"


def test_a_template_is_rendered_with_terraforms_outputs(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "spec.yaml.j2").write_text("metadata:\n  name: {{ name }}\n")
    (desk / "values.json").write_text('{"name": {"value": "prod", "type": "string", "sensitive": false}}')
    assert run(["template", "--values", "values.json", "spec.yaml.j2"]) == 0
    assert "name: prod" in capsys.readouterr().out.replace('"', "")
    (desk / "values.json").write_text("{}")
    assert run(["template", "--values", "values.json", "spec.yaml.j2"]) == 2


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert "instanceGroups" in json.loads(capsys.readouterr().out)["properties"]


def test_interrupting_a_command_ends_it_with_130_and_no_traceback(founded: Workshop, tmp_path: Path) -> None:
    """A real SIGINT, while the command waits: the fifo has no writer, so the passphrase never comes."""
    import os

    fifo = tmp_path / "passphrase"
    os.mkfifo(fifo)
    environment = {name: value for name, value in os.environ.items() if name != "BOOTWRIGHT_PASSPHRASE"}
    process = subprocess.Popen(
        # A shell's background jobs, CI among them, hand a SIGINT that is ignored down to every child.
        ["env", "--default-signal=INT", sys.executable, "-m", "coordinator", "refresh"],
        env={**environment, "BOOTWRIGHT_PASSPHRASE_FILE": str(fifo)},
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    with fifo.open("wb"):  # opens only once the command is reading
        process.send_signal(signal.SIGINT)
    # The end of the fifo: a signal that came between Python's look at signals and its read() would wait with the read.
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "Traceback" not in text


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m coordinator schema | head -c 10; exit"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
