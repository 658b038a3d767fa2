"""The schema, step by step. Run by `payments migrate`."""
