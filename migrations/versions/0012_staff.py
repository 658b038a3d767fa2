"""Roles, passkeys, sessions that idle out, the audit, and what support looks at.

The audit is append-only as the books are: a trigger refuses every change to everybody, and the
service's role is not given one. Whoever is signed in signs in anew.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations import words

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ROLE = "payments_app"
ALARMS = ("passkey_copied", "many_views")


def upgrade() -> None:
    _roles("finance", "support", "admin")
    op.add_column("staff", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("DELETE FROM staff_sessions")
    for name in ("seen_at", "proved_at"):
        op.add_column("staff_sessions", sa.Column(name, sa.DateTime(timezone=True), nullable=False))
    passkeys()
    audit()
    op.create_table(
        "support_cases",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("donor_id", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_support_cases_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["donor_id"],
            ["donors.id"],
            name=op.f("fk_support_cases_donor_id_donors"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_support_cases")),
    )
    op.create_index(op.f("ix_support_cases_donor_id"), "support_cases", ["donor_id"])
    words.allow("alarms", "kind", *ALARMS)


def passkeys() -> None:
    op.create_table(
        "staff_passkeys",
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("answers", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_staff_passkeys_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_staff_passkeys")),
    )
    op.create_index(op.f("ix_staff_passkeys_staff_id"), "staff_passkeys", ["staff_id"])
    op.create_table(
        "answered_challenges",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("forget_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_answered_challenges")),
    )


def audit() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=True),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("deed", sa.String(length=40), nullable=False),
        sa.Column("about", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.CheckConstraint("deed ~ '^[a-z_]+$'", name=op.f("ck_audit_entries_deed_is_a_word")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_name", "audit_entries", ["name", "seq"])
    op.create_index("ix_audit_entries_deed", "audit_entries", ["deed", "seq"])
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"])
    op.execute("""
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON audit_entries FROM {ROLE}")


def downgrade() -> None:
    words.forbid("alarms", "kind", *ALARMS)
    op.drop_table("support_cases")
    op.drop_table("audit_entries")
    op.drop_table("answered_challenges")
    op.drop_table("staff_passkeys")
    op.drop_column("staff_sessions", "proved_at")
    op.drop_column("staff_sessions", "seen_at")
    op.drop_column("staff", "removed_at")
    op.execute("DELETE FROM staff WHERE role = 'support'")
    _roles("finance", "admin")


def _roles(*roles: str) -> None:
    op.drop_constraint(op.f("ck_staff_role_is_known"), "staff", type_="check")
    listed = ", ".join(f"'{role}'" for role in roles)
    op.create_check_constraint(op.f("ck_staff_role_is_known"), "staff", f"role IN ({listed})")
