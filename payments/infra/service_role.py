"""The role that the service works as, and what it may do: asserted each time somebody migrates.

A dump holds no roles, and what was granted by hand may have been taken away, so neither is left to
a revision. A role belongs to all databases of a server, and this one owns nothing in any of them.
"""

from sqlalchemy import Connection, text

APP_ROLE = "payments_app"
# What the append-only triggers guard. The role is not granted what they refuse.
_APPEND_ONLY_TABLES = """
    SELECT tgrelid::regclass::text
      FROM pg_trigger
     WHERE tgfoid = (SELECT oid FROM pg_proc
                      WHERE proname = 'refuse_change'
                        AND pronamespace = CAST('public' AS regnamespace))
     ORDER BY 1
"""
_VIEWS = """
    SELECT oid::regclass::text FROM pg_class
     WHERE relnamespace = CAST('public' AS regnamespace) AND relkind = 'v' ORDER BY 1
"""
_MAY_CREATE_ROLES = "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
_ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)"
_MAY_GRANT_ROLE = "SELECT pg_has_role(current_user, :role, 'MEMBER WITH ADMIN OPTION')"
_IS_MEMBER = "SELECT pg_has_role(current_user, :role, 'MEMBER')"
# Somebody may migrate another database of the server at this moment.
_CREATE_ROLE = f"""
    DO $$ BEGIN CREATE ROLE {APP_ROLE} NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
"""
_ROWS = "SELECT, INSERT, UPDATE, DELETE"
_NUMBERS = "USAGE, SELECT"


class RoleMissing(Exception):
    """The role is not there, and this login may not create it. The message is what to run."""


def create_if_missing(connection: Connection) -> None:
    """Create the role, and let this login work as it where it may give itself that right.

    Raises RoleMissing where an administrator of the server has to create it.
    """
    role = {"role": APP_ROLE}
    if not connection.scalar(text(_ROLE_EXISTS), role):
        if not connection.scalar(text(_MAY_CREATE_ROLES)):
            login = connection.scalar(text("SELECT quote_ident(current_user)"))
            raise RoleMissing(
                f"The role {APP_ROLE} is missing, and the login {login} may not create roles."
                f" Nothing was changed. Have an administrator of the server run: CREATE ROLE"
                f" {APP_ROLE} NOLOGIN; GRANT {APP_ROLE} TO {login};"
            )
        connection.execute(text(_CREATE_ROLE))
    if not connection.scalar(text(_IS_MEMBER), role) and connection.scalar(
        text(_MAY_GRANT_ROLE), role
    ):
        connection.execute(text(f"GRANT {APP_ROLE} TO CURRENT_USER"))


def grant(connection: Connection) -> None:
    """Grant the role what the service needs in this database, and nothing else of it.

    It reads and writes rows, of an append-only table it only adds some, and it changes no schema.
    """
    for statement in (
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {APP_ROLE}",
        f"GRANT USAGE ON SCHEMA public TO {APP_ROLE}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {_ROWS} ON TABLES TO {APP_ROLE}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {APP_ROLE}",
        f"GRANT {_ROWS} ON ALL TABLES IN SCHEMA public TO {APP_ROLE}",
        f"GRANT {_NUMBERS} ON ALL SEQUENCES IN SCHEMA public TO {APP_ROLE}",
        f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {APP_ROLE}",
        f"GRANT TRUNCATE ON daily_salts TO {APP_ROLE}",  # which leaves no byte behind
    ):
        connection.execute(text(statement))
    for table in connection.scalars(text(_APPEND_ONLY_TABLES)).all():
        connection.execute(text(f"REVOKE UPDATE, DELETE ON {table} FROM {APP_ROLE}"))
    for view in connection.scalars(text(_VIEWS)).all():
        connection.execute(text(f"REVOKE INSERT, UPDATE, DELETE ON {view} FROM {APP_ROLE}"))


def revoke(connection: Connection) -> None:
    """Take back everything the role was granted in this database; the role itself is shared."""
    if connection.scalar(text(_ROLE_EXISTS), {"role": APP_ROLE}):
        connection.execute(text(f"DROP OWNED BY {APP_ROLE}"))
