"""The file around the spec: what can be wrong before YAML begins, and what `load_spec` promises."""

import os
from pathlib import Path

import pytest

from coordinator.spec import SpecInvalid, load_spec
from coordinator.spec.loading import LARGEST_SPEC
from units.errors import Invalid

EXAMPLES = Path(__file__).parents[3] / "examples"
MINIMAL = (EXAMPLES / "minimal" / "cluster.yaml").read_text()


def refusal(source: Path | str) -> SpecInvalid:
    with pytest.raises(SpecInvalid) as caught:
        load_spec(source)
    return caught.value


def test_a_file_that_is_not_there_is_named_and_no_traceback_shows(tmp_path):
    error = refusal(tmp_path / "absent.yaml")
    assert "absent.yaml: 1 problem" in str(error)
    assert "no such file or directory" in str(error)


def test_a_directory_is_no_spec(tmp_path):
    assert "is a directory" in str(refusal(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_read_permission_is_named(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(MINIMAL)
    path.chmod(0)
    assert "permission denied" in str(refusal(path))


def test_a_device_without_end_is_cut_off_at_the_largest_spec():
    assert f"more than {LARGEST_SPEC} bytes" in str(refusal(Path("/dev/zero")))


def test_text_is_cut_off_at_the_largest_spec_too():
    assert f"more than {LARGEST_SPEC} bytes" in str(refusal("#" * (LARGEST_SPEC + 1)))


def test_bytes_that_are_not_utf8_are_reported_with_their_line(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_bytes(b"kind: Cluster\nmetadata: {name: caf\xe9}\n")
    (problem,) = refusal(path).problems
    assert problem.line == 2
    assert "0xE9" in problem.found


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load_spec(path) == load_spec(MINIMAL)


def test_the_error_is_an_invalid_that_exits_with_2_and_tells_what_to_do():
    error = refusal("kind: Cluster\n")
    assert isinstance(error, Invalid)
    assert error.exit_code == 2
    assert error.code == "spec-invalid"
    assert "coordinator schema" in error.remedy


def test_a_problem_carries_its_parts_for_json_output():
    text = MINIMAL.replace("role: node", "role: worker")
    (problem,) = refusal(text).problems
    assert problem.path == "instanceGroups[1].role"
    assert text.splitlines()[problem.line - 1].strip() == "role: worker"
    assert problem.found == '"worker"'
    assert problem.allowed == "control-plane or node"
    assert problem.remedy == "did you mean node?"


def test_problems_come_in_the_order_of_the_file():
    lines = [problem.line for problem in refusal(MINIMAL.replace("role:", "rule:").replace("vpc-", "vpx-")).problems]
    assert lines == sorted(lines)
    assert len(lines) == 5


def test_snake_case_is_for_python_and_not_for_yaml():
    error = refusal(MINIMAL.replace("machineType", "machine_type"))
    assert "did you mean machineType?" in str(error)


def test_a_secret_in_the_wrong_place_is_not_repeated_in_the_error():
    key = "-----BEGIN EC PRIVATE KEY----- MHcCAQEEIOh+hunter2"
    text = MINIMAL + f'cloudLabels: {{a: "{key}"}}\nfiles: [{{path: /etc/a, content: "{key}"}}]\n'
    assert "hunter2" not in str(
        refusal(text + f'assets: {{kubelet: "{key}"}}\naws: {{endpointURL: "https://a:hunter2@b"}}\n')
    )


def test_what_is_left_out_is_filled_in():
    spec = load_spec(MINIMAL)
    (etcd,) = spec.etcd_clusters
    (member,) = etcd.members
    assert (member.name, member.zone, member.group) == ("a", "eu-west-1a", "control-plane-a")
    assert (etcd.volume.iops, etcd.volume.throughput) == (3000, 125)
    assert [group.zones for group in spec.instance_groups] == [("eu-west-1a",)] * 2
    assert [group.max_size for group in spec.instance_groups] == [1, 1]


def test_derived_values_are_what_the_nodes_will_use():
    spec = load_spec(MINIMAL)
    assert spec.bucket == "example-clusters"
    assert spec.prefix == "minimal.example.com"
    assert spec.api_host == "api.minimal.example.com"
    assert str(spec.network.cluster_dns) == "100.64.0.10"
    assert str(spec.network.api_service) == "100.64.0.1"
    assert spec.kubernetes_minor == 36


def test_the_prefix_of_the_store_comes_before_the_cluster():
    spec = load_spec(MINIMAL.replace("s3://example-clusters", "s3://example-clusters/a/b"))
    assert (spec.bucket, spec.prefix) == ("example-clusters", "a/b/minimal.example.com")


def test_with_a_dns_zone_the_endpoint_is_the_internal_name():
    text = MINIMAL.replace("endpoint: api.minimal.example.com", "port: 6443") + "dns: {mode: private, zoneID: Z0123}\n"
    assert load_spec(text).api_host == "api.internal.minimal.example.com"


def test_files_reach_the_groups_they_name():
    spec = load_spec(
        MINIMAL
        + "files:\n"
        + "  - {path: /etc/all, content: a}\n"
        + "  - {path: /etc/nodes, content: b, roles: [node]}\n"
        + "  - {path: /etc/cp, base64: AP8=, groups: [control-plane-a]}\n"
    )
    paths = {group.name: [file.path for file in spec.files_for(group)] for group in spec.instance_groups}
    assert paths == {"control-plane-a": ["/etc/all", "/etc/cp"], "workers": ["/etc/all", "/etc/nodes"]}
    assert spec.files[2].data == b"\x00\xff"


def test_a_file_that_is_no_spec_at_all_does_not_flood_the_screen():
    error = refusal(MINIMAL + "".join(f"unknown{number}: 1\n" for number in range(3000)))
    assert "3000 problems, of which the first 500" in str(error)
    assert len(error.problems) == 500
