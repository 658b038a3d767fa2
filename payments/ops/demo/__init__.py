"""`payments demo`: PostgreSQL, Stripe's stand-in, the service and its worker, with a year of
history.

One process group on this machine, which stores nothing: Ctrl-C ends and removes all of it. The
history is made through the front door, and nothing is written to a table.

runner      starts everything, seeds the history, prints the links to open
seed        who does what on which day
supporters  the same readers every time
simulation  the service and a sandbox on a clock that is turned
banks       dispute, decline, convert, charge fees
browser     without JavaScript: pages, forms, a mailbox
colleagues  run campaigns, refund, close months
readers     give, change, ask to be reminded
"""
