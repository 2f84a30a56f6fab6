"""`agent issuer reset` and `list`, as root runs them on a control-plane node."""

import json
from xml.sax.saxutils import escape

import pytest

from agent.cli import main
from agent.commands import issuer as command
from agent.issuer.ledger import Entry
from agent.issuer.operator import Place, here
from agent.issuer.store import list_keys
from tests.agent.issuer.aws_doubles import ACCOUNT, REGION, Reply
from tests.agent.issuer.served import served
from tests.agent.issuer.world import INSTANCE, NODE, CredentialsDouble, World
from units.errors import BootwrightError, Fatal

OTHER = "i-0bbbbbbbbbbbbbbb2"
BUCKET = "operator-test-bucket"
PREFIX = f"identity/{ACCOUNT}/{REGION}/"


@pytest.fixture
def place(world: World, moto_endpoint) -> Place:
    """A control-plane node whose bucket is moto's: its listing is nobody's double."""
    import boto3

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    s3 = boto3.client("s3", endpoint_url=moto_endpoint, **keys)
    s3.create_bucket(Bucket=BUCKET)
    for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    settings = world.settings.model_copy(update={"endpoint": moto_endpoint, "store": f"s3://{BUCKET}"})
    return Place(world.config, settings, CredentialsDouble())


def test_a_reset_is_seen_in_the_list_and_in_json(place: Place, capsys) -> None:
    ledger = place.ledger()
    ledger.create(Entry(instance=INSTANCE, node=NODE, group="workers", keys=("ab" * 32,)))
    ledger.create(Entry(instance=OTHER, node="ip-10-99-1-6.eu-west-1.compute.internal", group="gpu", keys=("cd" * 32,)))
    command.reset(place, INSTANCE)
    command.show(place, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"the next key that {INSTANCE} comes with")
    assert [line.split()[0] for line in lines[1:]] == ["INSTANCE", OTHER, INSTANCE]
    assert lines[3].endswith("open to the next key")
    command.show(place, as_json=True)
    found = {entry["instance"]: entry["open"] for entry in json.loads(capsys.readouterr().out)}
    assert found == {INSTANCE: True, OTHER: False}


def test_an_unreadable_record_is_listed_too(place: Place, capsys) -> None:
    place.ledger()._records.create(f"{PREFIX}{INSTANCE}.json", b"rubbish")
    command.show(place, as_json=False)
    assert capsys.readouterr().out.splitlines()[1].split() == [INSTANCE, "-", "-", "-"]


def test_a_list_of_several_pages_is_whole_and_the_token_is_sent_back_as_it_came(world: World) -> None:
    token = "1/a+b=& é"

    def respond(_method: str, path: str, *_: object) -> Reply:
        first = "continuation-token" not in path
        assert first or "continuation-token=1%2Fa%2Bb%3D%26%20%C3%A9" in path
        more = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if first else ""
        key = f"demo/{PREFIX}{1 if first else 2}.json"
        body = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>{key}</Key>'
        return Reply(200, f"{body}</Contents>{more}</ListBucketResult>".encode())

    with served(respond) as url:
        settings = world.settings.model_copy(update={"endpoint": url})
        assert list(list_keys(settings, REGION, CredentialsDouble(), PREFIX)) == [f"{PREFIX}1.json", f"{PREFIX}2.json"]


@pytest.mark.parametrize("reply", [Reply(403), Reply(200, b"<html>")])
def test_a_store_that_does_not_list_is_named(world: World, reply) -> None:
    with served(lambda *_: reply) as url:
        settings = world.settings.model_copy(update={"endpoint": url})
        with pytest.raises(BootwrightError, match=PREFIX) as caught:
            list(list_keys(settings, REGION, CredentialsDouble(), PREFIX))
    assert caught.value.code == "ledger-unreachable"


@pytest.mark.parametrize("instance", ["i-xyz", "../x", "i-0aaaaaaaaaaaaaaa1\n", "ip-10-99-1-5"])
def test_what_is_no_instance_id_is_refused_before_anything_is_asked(instance, capsys) -> None:
    assert main(["issuer", "reset", instance]) == 2
    assert "instance-id-invalid" in capsys.readouterr().err


def test_the_place_is_read_from_the_nodes_own_files(world: World) -> None:
    directory = world.write_credentials()
    found = here(directory / "issuer.json", directory / "agent.json")
    assert (found.config, found.settings) == (world.config, world.settings)


@pytest.mark.parametrize("missing", ["issuer.json", "agent.json"])
def test_on_a_worker_it_says_where_to_run_it(world: World, missing) -> None:
    directory = world.write_credentials()
    (directory / missing).unlink()
    with pytest.raises(Fatal, match=missing) as caught:
        here(directory / "issuer.json", directory / "agent.json")
    assert caught.value.code == "no-issuer-here"
