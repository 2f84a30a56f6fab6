"""The command line. Errors end here, once: what was found, what is allowed, what to do, and the right exit code."""

import gc
import os
import sys

import typer

from coordinator.commands import (
    advance,
    agent_bundle,
    assets,
    etcd,
    halt,
    history,
    iam,
    init,
    kubeconfig,
    local_key,
    publish,
    refresh,
    rollback,
    rollout,
    spec,
    status,
    trust,
    userdata,
    validate,
)
from coordinator.console import show_error
from pki.errors import PkiError
from units.errors import BootwrightError, Fatal, Invalid

INTERRUPTED = 130  # 128 + SIGINT, as shells count
DEBUG_VARIABLE = "BOOTWRIGHT_DEBUG"
_INTERRUPTED = "\ninterrupted; run the command again, it goes on where it was\n"

_HELP = """Publish signed manifests for self-managed Kubernetes nodes on EC2, and watch the fleet.

\b
A new cluster, from nothing:
  coordinator init -f cluster.yaml --create-bucket
  coordinator assets add ./kubelet --name kubelet --path /usr/local/bin/kubelet -f cluster.yaml
  coordinator publish -f cluster.yaml            shows what would change
  coordinator publish -f cluster.yaml --yes      signs and uploads it
  coordinator userdata GROUP -f cluster.yaml     for the group's launch template
  coordinator validate -f cluster.yaml --wait 15m

\b
A change to nodes that run, in waves:
  coordinator publish -f cluster.yaml --yes
  coordinator advance -f cluster.yaml --watch
  coordinator rollout status -f cluster.yaml     and pause, resume, abort; halt stops it without a key
  coordinator rollback GROUP -f cluster.yaml     to the manifest before

\b
Exit codes: 0 done, 1 failed, 2 usage or invalid input, 3 refused for safety (trust, quorum, format), 4 retry later,
5 changes are pending (publish --detailed-exitcode), 130 interrupted.

\b
Environment: BOOTWRIGHT_SPEC, BOOTWRIGHT_STORE, BOOTWRIGHT_CLUSTER, BOOTWRIGHT_KEYS stand for -f, --store, --cluster,
--keys; BOOTWRIGHT_PASSPHRASE or BOOTWRIGHT_PASSPHRASE_FILE for the prompt. AWS credentials as for the aws command.
"""

app = typer.Typer(
    name="coordinator",
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
_CHANGES = (init, publish, advance, rollback, halt, refresh)
_LOOKS = (status, validate, history, userdata, kubeconfig, iam, spec, local_key)
for module in (*_CHANGES, *_LOOKS):
    module.register(app)
app.add_typer(rollout.app, name="rollout")
app.add_typer(assets.app, name="assets")
app.add_typer(agent_bundle.app, name="agent-bundle")
app.add_typer(etcd.app, name="etcd")
app.add_typer(trust.app, name="trust")


def main() -> None:
    exit_code = run(sys.argv[1:])
    # The process ends here: without this the collector walks every object once more, 0.1 s of CPU.
    gc.freeze()
    sys.exit(exit_code)


def run(arguments: list[str]) -> int:
    """One command; its exit code."""
    try:
        result = app(args=arguments, prog_name="coordinator", standalone_mode=False)
    except BootwrightError as error:
        return _failed(error)
    except PkiError as error:
        return _failed(Fatal(error.code, error.message, remedy=error.remedy))
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write(_INTERRUPTED)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        result = 0
    except typer.TyperException as error:
        return _misused(error.format_message())
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return _failed(_defect(error))
    if result == INTERRUPTED:  # typer makes an exit code of KeyboardInterrupt
        sys.stderr.write(_INTERRUPTED)
    return result if isinstance(result, int) else 0


def _misused(said: str) -> int:
    if not said.startswith("Usage: "):
        return _failed(Invalid("usage", said, remedy="add --help to see what is allowed"))
    sys.stderr.write(f"{said}\n")  # the help of a group of commands, of which none was named
    return Invalid.exit_code


def _failed(error: BootwrightError) -> int:
    show_error(error)
    return error.exit_code


def _defect(error: Exception) -> Fatal:
    return Fatal(
        "defect",
        f"an unforeseen error, {type(error).__name__}: {error}",
        remedy=f"this is a defect of bootwright: report it, with the output of the command under {DEBUG_VARIABLE}=1",
    )
