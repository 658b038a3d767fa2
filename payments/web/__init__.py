"""The readers' and staff's door. Handlers translate and call a verb; they hold no rule and no SQL.

pages       templates, and what every page is given
tongue      which language an answer speaks, and how a choice of it is kept
headers     what every answer says to a browser
errors      failures as problem+json for programs and as a page for people
donate      the form, and the way to Checkout
thanks      what became of a gift
manage      a donor's own door: what they give, and every change of it
api         the same for programs
auth        staff, signing in by a one-time link
campaigns   the campaigns' pages; campaign_form is what their form holds
finance     the books, for finance
ops         health and metrics
"""
