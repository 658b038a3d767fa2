"""Support's pages: one donor at a time, with a reason, for half an hour.

case_view  what the page of a case prints
pages      find one donor, with a reason, and help
"""
