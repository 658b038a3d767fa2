"""The API for programs: JSON, problem+json for errors, described at /schema/openapi.json.

campaigns      a running campaign
contributions  JSON in and out, with an Idempotency-Key
mail_events    bounces and complaints
newsletter     sign-up
reminders      sign-up
"""
