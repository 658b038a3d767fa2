"""The donation and payments backend of a newsroom.

Four doors translate and call a verb:

    web         readers and staff          app builds it
    webhooks    Stripe (its own package)
    worker      the clock
    cli         the operator; demo shows everything at once

Nouns are one file each, with their table, their rules and their verbs; each imports only those
below:

    reports         what finance asks, from ledger rows
    books           the proof of the books
    staff           who may see them
    mail            what the outbox owes, rendered and addressed late; smtp, emails, links, language
    balance         the importer of every movement of the Stripe balance
    payouts         money on its way to the bank
    payment_methods what a promise is charged to
    promises        what a donor decides about a standing gift
    charges         each time Stripe took money
    subscriptions   the standing promise behind a monthly or annual gift
    contributions   what a reader decided to give
    ledger          the books: chart of accounts, posting table, hash chain
    donors          who gave, by a keyed hash; privacy: what is held, and erasing it
    history         what changed in a promise, when and by whom
    outbox          mails that are owed
    alarms          what a person must look at
    jobs            work promised in the same transaction as its cause

What they stand on:

    runtime         what a process holds open, and the clock it goes by
    gateway         the one place that speaks to Stripe
    db              PostgreSQL: base, column kinds, roles
    embedded        one from a wheel, for tests and the demo; its keeper ends it
    migrate, setup  the schema here, and what we need at Stripe
    money           whole minor units and their currency
    settings, errors, logs

`sandbox` stands in for Stripe. It knows nothing of us.
"""
