"""The `lfray` command. Thin: it reads arguments, calls the library, prints, and turns errors into exit codes.

0 done; 1 some trials failed; 2 refused (nothing was started); 3 interrupted (run again to go on); 4 crashed (a bug in lfray).
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lfray.errors import LfrayError

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, SOME_FAILED, REFUSED, INTERRUPTED, CRASHED = range(5)

EPILOG = """exit codes: 0 done, 1 some trials failed, 2 refused, 3 interrupted (run again to go on), 4 crashed
start with: lfray init quickstart && lfray run quickstart.yaml"""


def parser() -> argparse.ArgumentParser:
    """The command line, as a tree of argparse parsers."""
    top = argparse.ArgumentParser(
        prog="lfray",
        description="Sweeps of fine-tuning that measure who pays for a cheaper adaptation.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, help_text: str, *, storage: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_text, description=help_text)
        sub.add_argument("--json", action="store_true", help="print JSON")
        if storage:
            sub.add_argument("--storage", metavar="DIR", help="folder of records (before LFRAY_STORAGE and the sweep file)")
        return sub

    def tiny(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--tiny", action="store_true", help="the sweep made small: random base, planted rows, no GPU, no network"
        )

    sub = command("init", "write a sweep file to start from", storage=False)
    sub.add_argument("preset", nargs="?", default="quickstart", help="name of a preset; --list names them")
    sub.add_argument("--list", action="store_true", dest="list_presets", help="name the presets")
    sub.add_argument("--to", metavar="FILE", help="where to write; default: <preset>.yaml here")
    sub = command("check", "read a sweep file strictly; starts nothing", storage=False)
    sub.add_argument("sweep", help="sweep file")
    tiny(sub)
    sub = command("plan", "prepare data and model, resolve every trial; trains nothing")
    sub.add_argument("sweep", help="sweep file")
    tiny(sub)
    sub.add_argument(
        "--address", metavar="RAY", help="a running Ray cluster to plan for; default: RAY_ADDRESS, else this machine"
    )
    sub = command("run", "run what has no record yet, then front and report")
    sub.add_argument("sweep", help="sweep file")
    tiny(sub)
    sub.add_argument(
        "--tracking", metavar="URI", help="MLflow tracking URI (before MLFLOW_TRACKING_URI and the sweep file); none: off"
    )
    sub.add_argument("--address", metavar="RAY", help="a running Ray cluster; default: RAY_ADDRESS, else Ray is started here")
    sub = command("rerun", "run recorded trials of a sweep again")
    sub.add_argument("sweep", help="sweep file")
    sub.add_argument("--failed", action="store_true", help="those that failed")
    sub.add_argument("--trial", action="append", default=[], metavar="ID", help="this trial (may be repeated)")
    sub.add_argument("--tracking", metavar="URI", help="as for run")
    sub.add_argument("--address", metavar="RAY", help="as for run")
    sub = command("front", "the trials that no other trial beats on every objective")
    sub.add_argument("name", help="name of a sweep, or its file")
    sub.add_argument("--maximize", action=_Ordered, dest="objectives", metavar="METRIC", help="objective (may be repeated)")
    sub.add_argument("--minimize", action=_Ordered, dest="objectives", metavar="METRIC", help="objective (may be repeated)")
    sub.add_argument("--where", metavar="EXPR", help='which trials take part, e.g. "rank <= 8 and cost.train_seconds < 60"')
    sub = command("report", "figures and page of a sweep")
    sub.add_argument("name", help="name of a sweep, or its file")
    sub.add_argument("--to", metavar="DIR", help="folder; default: the sweep's analysis/ in storage")
    sub = command("list", "the sweeps in a storage, or the trials of one")
    sub.add_argument("name", nargs="?", help="name of a sweep, or its file")
    sub = command("show", "one trial: settings, measures, what is undefined and why")
    sub.add_argument("trial", help="trial id (its beginning is enough)")
    sub = command("gc", "free space: checkpoints, predictions or adapters of recorded trials; records stay")
    sub.add_argument("name", help="name of a sweep, or its file")
    sub.add_argument("--checkpoints", action="store_true", help="of trials that have a record")
    sub.add_argument("--predictions", action="store_true", help="predictions: new measures then need new training")
    sub.add_argument("--adapters", action="store_true", help="trained weights")
    sub.add_argument("--keep", choices=("front", "none"), default="front", help="trials whose files stay (default: front)")
    sub.add_argument("--yes", action="store_true", help="remove; without it only what would go is listed")
    command("schema", "JSON schema of the sweep file, for editors", storage=False)
    command("metrics", "every metric: key, unit, good direction, meaning", storage=False)
    return top


class _Ordered(argparse.Action):
    """Keeps --maximize and --minimize in the order in which they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Append (direction, metric)."""
        given = list(getattr(namespace, self.dest) or [])
        given.append(((option_string or "").removeprefix("--"), str(values)))
        setattr(namespace, self.dest, given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    tree = parser()
    options = tree.parse_args(arguments)
    if options.version:
        from importlib.metadata import version

        print(version("lfray"))
        return DONE
    if options.command is None:
        tree.print_help()
        return REFUSED
    from lfray import commands

    try:
        return int(getattr(commands, f"{options.command}_command")(options))
    except LfrayError as error:
        commands.refuse(error, as_json=options.json)
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to be said.
        sys.stderr.close()
        return DONE
    except Exception:
        import traceback

        traceback.print_exc()
        print("lfray crashed: this is a bug. What was recorded is safe; run again to go on", file=sys.stderr)
        return CRASHED


if __name__ == "__main__":
    sys.exit(main())
