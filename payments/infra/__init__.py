"""What the service runs on: PostgreSQL, the job queue, Stripe's API, logs, alerts, the audit log.

address_hash                  slow hashes of e-mail addresses
alerts                        what a person must look at
audit_log                     which colleague did or saw what, and why
chart_renderer                Vega-Lite as SVG, in a child process
charts                        figures as SVG
client_probe                  asks the public address what arrives of a client
connections                   PAYMENTS_DATABASE_URL as everybody reads it; sessions
context                       settings, database, Stripe client and clock of a process
db                            engine, sessions, the declarative base, two roles
demo_clock                    the real time, or later by what a demo was turned
embedded_postgres             a server for the length of a block
embedded_postgres_supervisor  ends it with its parent
idle_connections              whether a pool's connection is alive, mostly without asking
isolation                     of many things, one that fails stops none
job_queue                     jobs, enqueued in the transaction of their cause
logs                          JSON lines with an allow-list of fields
metrics                       for Prometheus
migrate                       bringing a database to a schema, as the owner
outgoing_events               signed webhooks to the newsroom's own programs
retries                       doing once more what failed
schedule_failures             two in a row raise an alert
second_person                 what waits until another colleague agrees
service_role                  what the role of the service may do, asserted at each migration
shown_pages                   answers to forms, sealed for the browser
signing                       HMACs and signed tokens, by the operator's keys
stripe_account                the account and mode of this database
stripe_client                 the API: version, timeouts, retries, rate limit
stripe_health                 whether Stripe answers us at all
stripe_objects                whether Stripe has an object
stripe_permissions            what our API key needs
stripe_refusals               a key that is not accepted, a missing permission
unknown_values                words of Stripe's that are new
write_guard                   nothing is changed with another account's key

It knows no contribution and no donor: alerts and audit entries name an object by its id. Whatever
reaches beyond one transaction takes a `Context`. It imports core.
"""
