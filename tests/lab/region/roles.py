"""The two node roles every lab starts with, and what they may do (DESIGN.md section 4, the S3 layout).

`${lab:InstanceId}` is the lab's own variable: real IAM has none that holds a bare instance id. There,
`status/${aws:userid}.json` is what can be enforced (userid = ROLEID:i-...).
"""

from typing import Any

NODE = "node"
CONTROL_PLANE = "control-plane"

READ_TAGS = ["ec2:DescribeInstances", "ec2:DescribeTags", "ec2:DescribeInstanceTypes"]
OWN_REPORTS = ["arn:aws:s3:::*/status/${lab:InstanceId}.json", "arn:aws:s3:::*/outcome/*/${lab:InstanceId}"]


def _objects(*folders: str) -> list[str]:
    return [f"arn:aws:s3:::*/{folder}/*" for folder in folders]


def _allow(actions: str | list[str], resources: str | list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


NODE_STATEMENTS = (
    _allow("s3:ListBucket", "*"),
    _allow("s3:GetObject", _objects("tuf", "assets", "halt", "outcome")),
    _allow(["s3:PutObject", "s3:GetObject"], OWN_REPORTS),
    _allow(READ_TAGS, "*"),
)
CONTROL_PLANE_STATEMENTS = (
    *NODE_STATEMENTS,
    _allow("s3:GetObject", _objects("secrets", "etcd")),
    _allow("s3:PutObject", _objects("etcd")),
    _allow("s3:DeleteObject", ["arn:aws:s3:::*/etcd/*/backups/*"]),
    _allow("kms:Decrypt", "*"),
    _allow(["ec2:DescribeVolumes", "ec2:AttachVolume", "ec2:DetachVolume"], "*"),
    _allow(["ec2:CreateTags", "ec2:DeleteTags", "ec2:ModifyInstanceAttribute"], "*"),
)
STATEMENTS = {NODE: NODE_STATEMENTS, CONTROL_PLANE: CONTROL_PLANE_STATEMENTS}


def policy_document(role: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(STATEMENTS[role])}
