"""The donation form and the way to Stripe Checkout, in an article or on a page, without a script.

abandoned_checkout  the checkbox for one reminder
campaign_texts      what a campaign says, ready to print
currency            of the form, and a change of it
embed               the widget, its snippet, and plain HTML
form                how often and how much, then to Stripe
safety              the donor notice, and what is stored
gift_cookie         which gifts a browser began
thanks              what became of a contribution
"""
