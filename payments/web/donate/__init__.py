"""The donation form and the way to Stripe Checkout, in an article or on a page, without a script.

abandoned_checkout  the checkbox for one reminder
campaign_texts      what a campaign says, ready to print
coming_back         from Stripe's page, to the form as it was
currency            of the form, and a change of it
campaign_script     what the widget says now
embed               the widget, its snippet, and plain HTML
form                how often and how much, then to Stripe
safety              the donor notice, and what is stored
goal_texts          what is said of a campaign's goal and matching
gift_cookie         which gifts a browser began
widget_facts        the texts of the widget, and what it suggests
thanks              what became of a contribution
"""
