"""The operator's commands, put together. Each module is one command or one group of them.

__main__          `python -m payments.cli`
accounts          `accounts`
campaigns         `campaigns`
common            what the commands share: context, exit codes, files, progress
corrections       `corrections`
doctor            `doctor`
embed             `embed`
emergency_stop    `emergency-stop`
erase_identities  `erase-identities`, `erased-at-stripe`
events            `events`
export            `export`
init              `init`
jobs              `jobs`
newsletter        `newsletter`
period            `period`
reports           `verify-ledger`, `report`
server            `serve`, `work`, `migrate`, `sandbox`, `demo`
settings          `config`, `keys`
staff             `staff`
stripe            `stripe`, `import-balance`, `reconcile`
tokens            `tokens`

A command imports what it needs when it runs: the web framework alone takes seconds, and
`payments --help` should not. `common` has what the commands share, and none of them imports this
module. Every room and door may be imported.
"""

import click

from payments.cli import (
    accounts,
    campaigns,
    corrections,
    doctor,
    embed,
    emergency_stop,
    erase_identities,
    events,
    export,
    init,
    jobs,
    newsletter,
    period,
    reports,
    server,
    settings,
    staff,
    stripe,
    tokens,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reader-payments")
def main() -> None:
    """Donations and payments for a newsroom."""


COMMANDS = (
    server.serve,
    server.work,
    server.migrate,
    server.sandbox,
    server.demo,
    init.init,
    settings.config,
    settings.keys,
    stripe.stripe,
    stripe.import_balance,
    stripe.reconcile,
    reports.verify_ledger,
    reports.report,
    export.export,
    period.period,
    accounts.accounts,
    corrections.corrections,
    campaigns.campaigns,
    embed.embed,
    newsletter.newsletter,
    events.events,
    jobs.jobs,
    staff.staff,
    tokens.tokens,
    doctor.doctor,
    emergency_stop.emergency_stop,
    erase_identities.erase_identities,
    erase_identities.erased_at_stripe,
)
for command in COMMANDS:
    main.add_command(command)
