"""`payments demo`: PostgreSQL, Stripe's stand-in, the service and its worker, with a year of
history.

One process group on this machine. It keeps nothing: Ctrl-C ends all of it.

    seed     a year of supporters, through the front door
    show     the running demo and the links to open
"""

from payments.demo.show import run

__all__ = ["run"]
