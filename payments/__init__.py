"""The donation and payments backend of a newsroom.

Four doors translate and call a verb:

    web         readers and staff          app builds it
    webhooks    Stripe (its own package)
    worker      the clock
    cli         the operator; demo shows everything at once

Nouns are one file each, with their table, their rules and their verbs; each imports only those
below:

    exports         what finance takes away: ledger, sheets, journals
    reports         what finance asks, from ledger rows and the daily roll-up
    reconcile       what Stripe has and we do not, and its repair
    retention       what time takes away; and everything, at once
    books           the proof of the books; identities says what must hold
    bank_line       when somebody last looked at what a bank really prints
    support         one donor at a time, for a colleague who says why
    passkeys        keys of colleagues that never leave their device
    oidc            the second door of colleagues: an account at the newsroom's own sign-in service
    staff           who may see the books, and for how long
    mail            what the outbox owes, rendered and addressed late; smtp, emails, links, language
    handing         proved addresses handed over to the newsroom's own mailing system, once
    newsletter      an address and consent, proved, and forgotten when it is handed over
    protection      what is done about a payment from a protected country: quarantines
    reminding       what is sent to readers who asked to be reminded, each mail at most once
    variants        which of a campaign's offers brought more, by what was kept
    campaigns       what readers of a link are told and suggested; campaign_terms is its file
    reminders       not ready today: asked, proved, cancelled, shredded; wishes, funnel, calendars
    balance         the importer of every movement of the Stripe balance
    payouts         money on its way to the bank, and Stripe's lists of what is in it
    refunds         money given back, by a colleague or at Stripe
    disputes        what banks take back or ask about, and warnings before
    payment_methods what a promise is charged to
    checkout        what Stripe's payment page says became of a contribution
    breaker         notices that cards are being tested, and raises the shield
    stopping        the emergency stop: every promise of a group, nobody written to; stops
    promises        what a donor decides about a standing gift
    charges         each time Stripe took money
    invoices        what Stripe asks for one period of a promise
    subscriptions   the standing promise behind a monthly or annual gift
    cards           what the next charge is made to
    adoption        what Stripe has and we held no row for
    contributions   what a reader decided to give
    asks            what a reader asks for, in words, and how Stripe is asked for it
    notices         what is read and ticked before the amount, by the policy
    statements      what a donor's bank will print, compared with what we promise
    quiet           promises about which nothing is said any more
    rollup          the books by day, for reports
    rollforward     what comes in again each month, and how it changed; cohorts, recovery
    kept            months that are over, reckoned once, until something is learned of them
    ledger          the books: chart of accounts, posting table, hash chain
    sign_ins        links and codes by which a donor comes in, each good once
    donors          who gave, by a keyed hash; privacy: what is held, and erasing it
    addresses       the few that must be kept, each sealed under a key that can be destroyed
    shield          keeps card testers and floods away; proof is the work it asks for
    networks        how far each has used what it may, by keyed hashes
    history         what changed in a promise, when and by whom
    outbox          mails that are owed
    alarms          what a person must look at
    articles        how often a story led to a gift, in steps of ten
    audit           which colleague did or saw what, and why
    jobs            work promised in the same transaction as its cause

What they stand on:

    runtime         what a process holds open, and the clock it goes by
    charts          figures as SVG, drawn in a process of their own
    gateway         the one place that speaks to Stripe; issuer speaks to that sign-in service
    db              PostgreSQL: base, column kinds, roles
    embedded        one from a wheel, for tests and the demo; its keeper ends it
    migrate, setup  the schema here, and what we need at Stripe; doctor looks at all of it
    policy, geo     who is protected and how; where a request seems to come from
    classified      every column: what it tells of whom, and until when
    money           whole minor units and their currency; covering adds Stripe's fee to a gift
    amounts         what a reader typed, read as their locale writes it, or asked about
    settings        what an operator decides; setting_kinds says how it may be written
    errors, logs

`sandbox` stands in for Stripe. It knows nothing of us.
"""
