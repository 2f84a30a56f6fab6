"""What a program inside an instance sees, without an instance: requests that leave from its private address."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tests.lab.region import sdk

TOKEN = "X-aws-ec2-metadata-token"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"


class _FromAddress(HTTPAdapter):
    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **kwargs)


class Guest:
    """address: the instance's private one; only on loopback networks can a test leave from it."""

    def __init__(self, imds_url: str, endpoint_url: str, address: str) -> None:
        self.imds_url = imds_url
        self.endpoint_url = endpoint_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount("http://", _FromAddress(address))
        self.address = address

    def put(self, path: str, **headers: str) -> requests.Response:
        return self.session.put(self.imds_url + path, headers=headers, timeout=5)

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.session.get(self.imds_url + path, headers=headers, timeout=5)

    @cached_property
    def token(self) -> str:
        return self.put("/latest/api/token", **{TTL: "60"}).text

    def read(self, path: str) -> str:
        """With a token; the answer must be 200."""
        answer = self.get(path, **{TOKEN: self.token})
        answer.raise_for_status()
        return answer.text

    @cached_property
    def instance_id(self) -> str:
        return self.read("/latest/meta-data/instance-id")

    def credentials(self) -> Mapping[str, str]:
        folder = "/latest/meta-data/iam/security-credentials/"
        return dict(json.loads(self.read(folder + self.read(folder))))

    def identity_credentials(self) -> Mapping[str, str]:
        path = "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance"
        return dict(json.loads(self.read(path)))

    def aws(self, service: str, credentials: Mapping[str, str] | None = None) -> Any:
        """A boto3 client with the instance's role credentials, or with those given."""
        found = credentials or self.credentials()
        made = sdk.client(self.endpoint_url, service, found["AccessKeyId"], found["SecretAccessKey"], found["Token"])
        # botocore has no setting for the address a request leaves from.
        made._endpoint.http_session._manager.connection_pool_kw["source_address"] = (self.address, 0)
        made.meta.events.register(f"before-send.{service}", self._say_who)
        return made

    def _say_who(self, request: Any, **_: object) -> None:
        """As the agent does: policies of `coordinator iam` want it of those who write reports."""
        request.headers["User-Agent"] = self.instance_id
