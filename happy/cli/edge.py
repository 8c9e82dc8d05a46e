"""``happy edge``: the configuration of a web or mail server in front of a container."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from happy.cli.applications import applications_of
from happy.cli.facing import Told, chosen_of, in_front
from happy.cli.output import config_option, json_option, safe, write_json
from happy.edge.servers import SERVERS


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice(tuple(SERVERS)))
@config_option("The configuration of the container.", required=True)
@click.option(
    "--app", "chosen", multiple=True, metavar="NAME", help="Only this application. Repeatable."
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="[APP=]HOST",
    help="A host name of an application, the first one that of its certificate; for exim, its own."
    " Repeatable. Unless said, APP.example; for exim, mx. and the first domain.",
)
@click.option(
    "--certificate",
    metavar="PATH",
    help="The certificates; {name} in it is the host name. Unless said, where certbot puts them,"
    " and for haproxy /etc/haproxy/certs/{name}.pem.",
)
@click.option("--key", metavar="PATH", help="Their keys, likewise.")
@json_option
def edge(  # noqa: PLR0913 - the options of a command are its arguments
    kind: str,
    config: Path,
    chosen: tuple[str, ...],
    names: tuple[str, ...],
    certificate: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Write the configuration of a server in front.

    KIND is nginx, apache or haproxy for the web; postfix, exim, opensmtpd or sendmail for mail.
    haproxy passes mail on, too, to doors that ask for its header (haproxy:). It is written from
    the doors and the bounds in FILE; where it goes, and what was assumed, stands at its top.

    \b
    Exit status:
      0  written
      1  FILE is not fit, or has no door that a KIND can be in front of
    """  # noqa: D301 - click's mark
    server = SERVERS[kind]
    told = Told(server, names, certificate, key)
    apps = chosen_of(config, applications_of(config), chosen)
    command = ["happy", "edge", kind, "--config", str(config)]
    for option, values in (("--app", chosen), ("--name", names)):
        command += [word for value in values for word in (option, value)]
    for option, path in (("--certificate", certificate), ("--key", key)):
        command += [option, path] if path else []
    written_by = " ".join(safe(shlex.join(command)).split())
    made = in_front(server, apps, told, strict=bool(chosen), written_by=written_by)

    from happy.edge.writing import written  # noqa: PLC0415 - what reads templates takes a moment

    text = written(server, made)
    if as_json:
        doors = [reach.place for reach in made.doors]
        write_json({"kind": kind, "config": str(config), "doors": doors, "text": text})
        return
    click.echo(text, nl=False)
