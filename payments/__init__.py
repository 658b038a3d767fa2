"""The donation and payments backend of a newsroom.

Each package is a door or a room. Doors translate a request, an event, a schedule or a command into
calls of the rooms, and open the transactions. Rooms hold the tables, the rules and the queries.
Imports go down this list and never up; `[tool.importlinter]` in pyproject.toml holds that, and a
file outside the packages fails it.

Doors:

    cli         the operator's commands
    ops         the worker and its schedules, doctor, reconcile, Stripe set-up, the demo
    web         pages and API: donate, account, reminders, newsletter, finance, staff, support
    webhooks    Stripe's events (a package beside this one)

Rooms; those without a blank line between them do not import each other:

    accounting  daily totals, reports, exports, period close, integrity checks
    safety      emergency stop, erasure, retention, data inventory, support cases

    settlement  importer of balance transactions, payouts, refunds, disputes
    signups     reminders, newsletter, address vault

    giving      contributions, checkout, subscriptions and changes, charges, campaigns

    donors      who gave, by keyed hash; sign-in links
    risk        rate limits, proof of work, card testing state, donor notice, quarantine
    ledger      posting rules, entries, hash chain
    mail        outbox, templates, rendering, SMTP, links
    staff       colleagues, passkeys, OpenID Connect

    infra       database, job queue, Stripe client, signing, alerts, audit log, logs, charts

    core        money, amounts, dates, languages, settings, errors: no database, no network

Beside them:

    sandbox     stands in for Stripe; imports nothing of ours; for ops, cli and the tests only
"""
