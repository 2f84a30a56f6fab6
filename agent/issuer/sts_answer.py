"""Judging what STS answered (N10): a finder of `<Arn>` would find it in JSON, too, and in a comment."""

import re
import xml.etree.ElementTree as ET  # after `_no_markup` there is no DOCTYPE that could define entities
from collections import Counter
from typing import TYPE_CHECKING

from agent.issuer.caller import Caller
from agent.issuer.checks import Check, require
from agent.issuer.codes import refused
from agent.issuer.sts import StsAnswer

if TYPE_CHECKING:
    from agent.issuer.rules import Rules

_NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
_ROOT = f"{_NAMESPACE}GetCallerIdentityResponse"
_CHILDREN = Counter((f"{_NAMESPACE}GetCallerIdentityResult", f"{_NAMESPACE}ResponseMetadata"))
_VALUES = (f"{_NAMESPACE}Arn", f"{_NAMESPACE}UserId", f"{_NAMESPACE}Account")
_LOCAL = tuple(name.rpartition("}")[2] for name in _VALUES)
_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")


def read_caller(answer: StsAnswer, rules: "Rules") -> Caller:
    require(rules.answer, answer)
    try:
        # As text: an encoding that the declaration names then means nothing.
        root = ET.fromstring(answer.body.decode())  # noqa: S314  bounded, and without any `<!` by now
    except (ET.ParseError, ValueError, LookupError) as error:
        raise refused("sts-answer-refused", "the answer is not XML") from error
    require(rules.tree, root)
    arn, user_id, account = ((root.findtext(f".//{name}") or "") for name in _VALUES)
    return Caller(account=account, arn=arn, user_id=user_id)


def _status(answer: StsAnswer) -> str:
    if answer.status == 200:
        return ""
    code = _CODE.search(answer.body)
    return f"STS answers {answer.status} {code[1].decode() if code else ''}"


def _is(content_type: str) -> bool:
    kind, _, parameters = content_type.lower().partition(";")
    return kind.strip() == "text/xml" and parameters.strip() in ("", "charset=utf-8")


def _no_markup(answer: StsAnswer) -> str:
    """No DOCTYPE, comment, CDATA or processing instruction: the parser would join the text around them."""
    body = answer.body
    first = body.find(b"<?")
    instructions = body.count(b"<?") - (1 if first == 0 and body.startswith(b"<?xml ") else 0)
    return "the answer holds markup that STS never sends" if b"<!" in body or instructions else ""


def _children(root: ET.Element) -> str:
    return "" if Counter(child.tag for child in root) == _CHILDREN else "other elements than STS sends"


def _values(root: ET.Element) -> str:
    """All elements of these names, wherever they lie: exactly one each, directly in the result, with text only."""
    result = root.find(f"{_NAMESPACE}GetCallerIdentityResult")
    inside = Counter(child.tag for child in result) if result is not None else Counter()
    everywhere = Counter(element.tag for element in root.iter() if element.tag.rpartition("}")[2] in _LOCAL)
    flat = all(len(child) == 0 for child in (result if result is not None else ()))
    wanted = Counter(_VALUES)
    return "" if inside == everywhere == wanted and flat else "Arn, UserId, Account: not once each, as STS sends them"


_LOCAL = tuple(name.rpartition("}")[2] for name in _VALUES)
ANSWER: tuple[Check[StsAnswer], ...] = (
    Check("N10-status", "proof-refused", _status),
    Check(
        "N10-content-type",
        "sts-answer-refused",
        lambda answer: "" if _is(answer.content_type) else f"content type {answer.content_type[:60]!r}",
    ),
    Check("N10-markup", "sts-answer-refused", _no_markup),
)
TREE: tuple[Check[ET.Element], ...] = (
    Check("N10-root", "sts-answer-refused", lambda root: "" if root.tag == _ROOT else f"root {root.tag[:80]!r}"),
    Check("N10-children", "sts-answer-refused", _children),
    Check("N10-values", "sts-answer-refused", _values),
)
