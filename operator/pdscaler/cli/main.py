"""Entry of the command line: a group whose commands are imported only when they are used. May import click and errors.

Every error that a user can cause is one line on standard error and exit status 2 (or the error's own).
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from pdscaler import __version__
from pdscaler.errors import NotSupportedYetError, PdscalerError

LAZY: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("pdscaler.cli.run:run", "Run the operator."),
    "plan": ("pdscaler.cli.plan:plan", "Size once, offline: how many replicas, why, and what would change it."),
    "simulate": ("pdscaler.cli.simulate:simulate_command", "Simulate a fixed number of replicas under a workload."),
    "replay": ("pdscaler.cli.replay:replay", "Replay recorded requests against a policy: attainment and GPU-hours."),
    "emulate": ("pdscaler.cli.emulate:emulate", "Emulate the engines under load, without GPUs."),
    "status": ("pdscaler.cli.status:status", "Show what the operator thinks."),
    "explain": ("pdscaler.cli.explain:explain", "Show the last decisions and their reasons."),
    "pause": ("pdscaler.cli.pause:pause", "Stop the operator from scaling a PDDeployment."),
    "resume": ("pdscaler.cli.pause:resume", "Let the operator scale a PDDeployment again."),
    "crd": ("pdscaler.cli.crd:crd", "Print the CustomResourceDefinition."),
}
"""Command name -> where it is defined, and what it does (so that the help needs no import)."""

NOT_YET: Final = ("profile",)
"""Commands of the contract that this release does not have."""

INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and reports errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names of the commands, in the order of the table."""
        return list(LAZY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command.

        Raises
        ------
        NotSupportedYetError
            If a later release will have it.
        """
        if cmd_name in NOT_YET:
            raise NotSupportedYetError(cmd_name, f"is not supported yet (available: {', '.join(LAZY)})")
        if cmd_name not in LAZY:
            return None
        module, _, attribute = LAZY[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{LAZY[cmd_name][0]} is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands into the help, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in LAZY.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command and exit with its status."""
        kwargs["standalone_mode"] = False
        try:
            status = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            status = 0
        except PdscalerError as error:
            status = _fail(str(error), error.exit_status)
        except click.UsageError as error:
            hint = f" ({error.ctx.command_path} --help shows what is possible)" if error.ctx else ""
            status = _fail(_one_line(error.format_message()) + hint, error.exit_code)
        except click.ClickException as error:
            status = _fail(_one_line(error.format_message()), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            status = INTERRUPTED
        except BrokenPipeError:
            # The reader (head, less) went away: not an error, and nothing may be written any more.
            _silence_stdout()
            status = 0
        except OSError as error:
            # Files that a command reads or writes say so themselves: what is left is a full or broken output.
            status = _fail(
                _one_line(f"{error.filename or 'output'}: {error.strerror or error}"), PdscalerError.exit_status
            )
            _silence_stdout()
        sys.exit(status if isinstance(status, int) else 0)


def _one_line(message: str) -> str:
    text = " ".join(message.split()).removesuffix(".")
    return text[:1].lower() + text[1:]


def _fail(message: str, status: int) -> int:
    click.echo(f"error: {message}", err=True)
    return status


def _silence_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.command(
    "pdscaler",
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Right-size the prefill and decode pools of disaggregated LLM inference:"
    " meet TTFT and TPOT with the fewest GPUs.",
)
@click.version_option(__version__, prog_name="pdscaler")
def cli() -> None:
    """Hold the commands."""


def main() -> None:
    """Run ``pdscaler`` (or ``kubectl-pd``) with the process's arguments."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119  (a name, not a path)
    cli(prog_name="kubectl pd" if name.startswith("kubectl-pd") else "pdscaler")
