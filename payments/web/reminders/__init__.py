"""Remind me later: signing up, confirming, the calendar file and leaving.

pages          the form, the calendar file, where mails lead
schedule_form  a form as a schedule, and back
sign_up        the same from the page and from a program
"""
