"""How byte code and the file of modules (agent/modules.py) can be wrong in an image, and what validate.sh says."""

VENV = "/opt/bootwright/venv"
SITE = f"$(echo {VENV}/lib/python3*/site-packages)"

# Rewrites agent.modules as PYTHON says; its own stamp stays.
_REWRITTEN = """
cat > /tmp/rewrite.py << 'PYTHON'
import marshal, pathlib, sys
path = pathlib.Path("/opt/bootwright/venv/agent.modules")
data = path.read_bytes()
begin = 8 + int.from_bytes(data[:8], "little")
(stamp, first, index), codes = marshal.loads(data[8:begin]), data[begin:]
{change}
head = marshal.dumps((stamp, first, index))
path.write_bytes(len(head).to_bytes(8, "little") + head + codes)
PYTHON
/opt/bootwright/venv/bin/python -I /tmp/rewrite.py
"""


def rewritten(change: str) -> str:
    return _REWRITTEN.format(change=change)


def kept_time(change: str) -> str:
    """`change` to a file of site-packages, which its folder does not show."""
    return f'before=$(stat -c %y {SITE}); {change}; touch -d "$before" {SITE}'


MODULES = {
    f"rm {SITE}/agent/__pycache__/cli.*.pyc": "1 modules are not byte-compiled (unchecked hash), ",
    f"{VENV}/bin/python -m compileall -q -f --invalidation-mode timestamp {SITE}/agent/cli.py": (
        "1 modules are not byte-compiled (unchecked hash), "
    ),
    f"echo '# changed since' >> {SITE}/agent/cli.py": "1 modules are not what their byte code was made of, ",
    f"touch {SITE}/new.txt": f"{VENV}/agent.modules was made of another Python, or before something was installed",
    f"truncate -s 100 {VENV}/agent.modules": f"{VENV}/agent.modules is not what agent.make_modules writes",
    f"truncate -s -1 {VENV}/agent.modules": f"{VENV}/agent.modules is cut short, or has more in it",
    rewritten("del index['agent.cli']"): f"{VENV}/agent.modules lacks 1 modules, agent.cli first",
    rewritten("del index['tarfile']"): f"{VENV}/agent.modules lacks 1 modules, tarfile first",
    rewritten("index['units.memory'] = (*index['units.memory'][:2], *index['units.render'][2:])"): (
        f"{VENV}/agent.modules has another units.memory than the venv, and 0 more"
    ),
    rewritten("place = index['json.decoder'][2][0]; codes = codes[:place] + b'!' + codes[place + 1:]"): (
        f"{VENV}/agent.modules has another json.decoder than the venv, and 0 more"
    ),
}
