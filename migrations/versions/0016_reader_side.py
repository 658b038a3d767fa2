"""An alarm for a bank's real line that nobody has looked at for a hundred days."""

from collections.abc import Sequence

from migrations import words

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ALARM = "bank_line"


def upgrade() -> None:
    words.allow("alarms", "kind", ALARM)


def downgrade() -> None:
    words.forbid("alarms", "kind", ALARM)
