"""`payments demo`: PostgreSQL, Stripe's stand-in, the service and its worker, with a year of
history.

One process group on this machine. It keeps nothing: Ctrl-C ends all of it.

    show        the running demo and the links to open
    seed        the story: who does what on which day
    people      the supporters; readers, colleagues and banks are what people do
    year        the past it is told in; browser is how they come in
"""

from payments.ops.demo.runner import run

__all__ = ["run"]
