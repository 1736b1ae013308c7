"""The verbs of the command line."""

import typer

from app.commands import (
    audit,
    backup,
    configuration,
    database,
    doctor,
    environment,
    flag,
    history,
    key,
    key_ceremony,
    seal,
    serve,
    token,
    transfer,
)

cli = typer.Typer(
    name="flagstone",
    help="Configuration and feature flags on nothing but PostgreSQL.",
    no_args_is_help=True,
    # Local variables in a traceback would show passwords.
    pretty_exceptions_enable=False,
)
cli.command("serve")(serve.serve)
cli.command("serve-worker", hidden=True)(serve.serve_worker)
cli.command("doctor")(doctor.doctor)
cli.add_typer(database.cli, name="database")
cli.add_typer(token.cli, name="token")
cli.add_typer(key.cli, name="key")
cli.add_typer(seal.cli, name="seal")
cli.add_typer(backup.cli, name="backup")
cli.add_typer(audit.cli, name="audit")
# Without a name of their own: their verbs stand beside those of what they are added to.
configuration.cli.add_typer(history.cli)
configuration.cli.add_typer(transfer.cli)
key.cli.add_typer(key_ceremony.cli)
cli.add_typer(environment.cli, name="environment")
cli.add_typer(configuration.cli, name="configuration")
cli.add_typer(flag.cli, name="flag")
