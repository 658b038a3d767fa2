"""The schema of the database as Alembic revisions. `payments migrate` applies them as the owner.

From the first release on, a revision that was released is never edited: a change is a new revision.
"""
