"""`xenproc`: the entry point. Commands are imported when they are called, so that `--help` and completion are quick."""

import importlib
import logging
import sys

import click

from xenproc import __version__
from xenproc.errors import EnvironmentLacks, XenprocError

# name -> (module, attribute, one line of help)
COMMANDS = {
    "demo": ("xenproc.cli.demo", "demo", "Show it all: domains, rings, latency, crashes that hurt nobody."),
    "bench": ("xenproc.cli.bench", "bench", "Measure rings, events, hypercalls, creation, idle domains."),
    "list": ("xenproc.cli.domains", "list_domains", "List the domains of running hypervisors, as xl list."),
    "console": ("xenproc.cli.domains", "console", "Print what a domain has written to its console."),
    "pause": ("xenproc.cli.domains", "pause", "Stop a domain until unpause."),
    "unpause": ("xenproc.cli.domains", "unpause", "Let a paused domain run again."),
    "shutdown": ("xenproc.cli.domains", "shutdown", "Ask a domain to end by itself."),
    "destroy": ("xenproc.cli.domains", "destroy", "End a domain at once."),
    "info": ("xenproc.cli.info", "info", "Show a hypervisor: memory, isolation and why, counters."),
    "doctor": ("xenproc.cli.doctor", "doctor", "Say what this host offers, what it lacks and how to get it."),
    "gc": ("xenproc.cli.gc", "gc", "Remove what a power cut may have left."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xenproc")
@click.option("-v", "--verbose", count=True, help="Say more; repeat for still more.")
@click.option("--debug", is_flag=True, hidden=True, help="Show tracebacks.")
def cli(verbose: int, debug: bool) -> None:
    """Xen's paravirtual machine as plain Linux processes."""
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)


def main(args: list[str] | None = None) -> None:
    """Run the command line; exit 0, 1 (error), 2 (usage), 3 (this host lacks something)."""
    try:
        cli.main(args=args, prog_name="xenproc", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except XenprocError as error:
        if "--debug" in (args if args is not None else sys.argv):
            raise
        click.echo(f"xenproc: {error}", err=True)
        sys.exit(3 if isinstance(error, EnvironmentLacks) else 1)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(0)


if __name__ == "__main__":
    main()
