"""`payments demo`: PostgreSQL, Stripe's stand-in, the service and its worker, with a year of
history.

One process group on this machine, which stores nothing: Ctrl-C ends and removes all of it. The
history is made through the front door, and nothing is written to a table.

    runner      starts everything, seeds the history, prints the links to open
    seed        who does what on which day
    supporters  who gives; readers, colleagues and banks are what they and others do
    simulation  the service on a clock that is turned; browser is how people use it
"""
