"""What readers give: contributions, checkout, subscriptions and their changes, charges, campaigns.

adoption                  which payments of the account are contributions
adoption_review           imported subscriptions that do not fit `PAYMENTS_ADOPT` any more
article_counts            how many contributions were started from an article
billing_dates             when a subscription is charged next, and how often before it ends
campaign_attribution      which campaign a contribution counts for
campaign_totals           what a campaign brought, for its goal and its sponsor
campaigns                 what readers of a link see, and what it led to
cancellations             ended at once, and asked for until Stripe confirms
card_testing              noticed from declined charges, raises the risk level
change_decisions          what a donor decides, from its row to what came about
change_log                what was changed about a subscription, when, by whom
change_requests           a change that is asked of Stripe, and whether it came about
charges                   each time Stripe took, or tried to take, money for a contribution
checkout                  the outcome of a contribution, as Stripe's payment page has it
checkout_session          what a reader asks for, as a session's parameters
contribution_start        its row first, a Checkout Session second
contributions             what a reader decided to give, once or every month or year
current_card              what the next charge of a subscription is made to
covered_amounts           which part of an amount a donor added for the payment fee
debts                     invoices that nobody paid, and what a new card does to them
donor_address             fetched from Stripe for one mail, and neither stored nor logged
donor_attribution         whose a contribution is: attached once, detached, cut off
donor_payments            the charges that succeeded, for accounts and receipts
erased_contributions      what stays when a donor is erased, and never comes back
experiments               which variant of a campaign brought more (A/B)
import_unknown            a payment at Stripe without a row here becomes a contribution
interval_columns          the columns of an interval
invoices                  what Stripe charges for one period of a subscription
missing_subscriptions     subscriptions that Stripe does not know any more
notices_due               mails due by the calendar: an expiring card, a rare charge
offered_methods           how a reader can pay on Stripe's page
outbox_sender             each mail composed, addressed, handed to SMTP
payment_day               a contribution is charged on another day
payment_intent_links      which contribution a payment belongs to
payment_mail              mails about payments, as they are when they leave
payment_methods           what a subscription is charged to, and replacing it
payment_notices           which payments and years a mail is due about
scheduled_ends            after how many more payments a contribution ends
second_subscriptions      a donor begins one and has another already
sign_in_mail              a link and a code for a donor who asked for them
subscription_changes      what a donor decides about a monthly or annual contribution
subscription_columns      what of a fetched subscription is stored
subscription_differences  what differs since the last fetch: logged, and mailed once
subscription_mail         written from what is true when it leaves
subscription_origin       which contribution it belongs to, imported where there is none
subscription_sync         fetch it from Stripe, and store it
subscription_terms        how much a subscription charges and how often
subscriptions             what Stripe charges for a recurring contribution until it is cancelled
unposted_charges          balance transactions that wait for their contribution
second_mail               the mail about a second subscription

Its rows say what donors decided and what Stripe last reported of it; what money moved is said by
the ledger. A row is written before Stripe is asked, with the row's id as the idempotency key. It
imports donors, risk, ledger, mail, staff, infra and core.
"""
