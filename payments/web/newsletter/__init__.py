"""The newsletter box: signing up, confirming and leaving.

pages    the form, and where its mails lead
sign_up  the same from the page and from a program
"""
