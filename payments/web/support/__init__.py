"""Support's pages: one donor at a time, with a reason, for half an hour.

pages  find one donor, with a reason, and help
"""
