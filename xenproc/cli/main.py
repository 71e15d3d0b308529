"""`xenproc`: the entry point. Commands are imported when they are called, so that `--help` and completion are quick."""

import importlib
import logging
import os
import sys
import traceback

import click

from xenproc import __version__
from xenproc.errors import EnvironmentLacks, XenprocError

# name -> (module, attribute, one line of help)
COMMANDS = {
    "demo": ("xenproc.cli.demo", "demo", "Show it all: domains, rings, latency, crashes that hurt nobody."),
    "bench": ("xenproc.bench.command", "bench", "Measure rings, calls, creation, memory, scheduling, a guest kernel."),
    "list": ("xenproc.cli.domains", "list_domains", "List the domains of running hypervisors, as xl list."),
    "console": ("xenproc.cli.domains", "console", "Print what a domain has written to its console."),
    "mem-set": ("xenproc.cli.domains", "mem_set", "Set a domain's memory target."),
    "pagetable": ("xenproc.cli.pagetable", "pagetable", "Draw a walk of a domain's page tables."),
    "pause": ("xenproc.cli.domains", "pause", "Stop a domain until unpause."),
    "unpause": ("xenproc.cli.domains", "unpause", "Let a paused domain run again."),
    "shutdown": ("xenproc.cli.domains", "shutdown", "Ask a domain to end by itself."),
    "destroy": ("xenproc.cli.domains", "destroy", "End a domain at once."),
    "info": ("xenproc.cli.info", "info", "Show a hypervisor: memory, isolation and why, counters."),
    "trace": ("xenproc.cli.trace", "trace", "Record hypercalls, events, traps, scheduling, for a browser to show."),
    "sched-bvt": ("xenproc.cli.schedbvt", "sched_bvt", "Show or set weights and warps."),
    "sched-plot": ("xenproc.cli.schedplot", "sched_plot", "Draw a schedule: turns on the CPUs, shares, virtual times."),
    "wallclock": ("xenproc.cli.wallclock", "wallclock", "Show or set what domains take for the time of day."),
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
        from xenproc.cli.common import shared_options

        module, attribute, _ = COMMANDS[cmd_name]
        return shared_options(getattr(importlib.import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xenproc")
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
@click.option("-v", "--verbose", count=True, help="Say more; twice: tracebacks, too.")
@click.pass_context
def cli(ctx: click.Context, quiet: bool, verbose: int) -> None:
    """Xen's paravirtual machine as plain Linux processes.

    `xenproc COMMAND --help` says more. Exit status: 0, 1 (an error), 2 (wrong usage), 3 (this host lacks something).
    """
    from xenproc.cli.common import say_more

    say_more(ctx, quiet, verbose)
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main(args: list[str] | None = None) -> None:
    """Run the command line; exit 0, 1 (error), 2 (usage), 3 (this host lacks something)."""
    try:
        left_with = cli.main(args=args, prog_name="xenproc", standalone_mode=False)
        sys.stdout.flush()
        status = left_with if isinstance(left_with, int) else 0     # what a command gave to click's Exit
    except click.exceptions.Abort:
        status = 130
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except BrokenPipeError:
        # Nobody reads on: no error of ours, and nothing may be flushed into that pipe at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except (XenprocError, OSError) as error:
        if logging.getLogger("xenproc").getEffectiveLevel() <= logging.DEBUG:
            traceback.print_exc()
        click.echo(f"xenproc: {error}", err=True)
        status = 3 if isinstance(error, EnvironmentLacks) else 1
    sys.exit(status)


if __name__ == "__main__":
    main()
