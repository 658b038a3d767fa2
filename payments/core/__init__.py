"""What every room needs and nothing owns: money, amounts, dates, languages, settings, errors.

adoption         what of a Stripe account is adopted, as a setting
amount_input     amounts as readers type them
brand_colors     what follows from a brand's colour, legible in both lights
brand_settings   which mails donors get, the brand, receipts: a part of the settings
calendar         dates, months and time zones
campaign_goal    a campaign's goal and matching, in steps that tell of nobody
campaign_parser  campaigns from TOML, JSON or a form
campaign_schema  what a campaign's readers see and are suggested
database_url     a database's URL, as libpq reads it
email            the normal form of an e-mail address
errors           expected failures, each with a status and a code
fee_cover        a reader may add Stripe's fee to a gift
frequency        how often a contribution is charged
geoip            the country of an IP address, from a file
i18n             locales, their catalogues, how they write a date
ics              calendar files: a reminder without an address
identifiers      the ids of our rows, and slugs
lookalike_names  names that could be taken for somebody else's
mail_settings    the mail server, the sender, DKIM: a part of the settings
message_markup   what a campaign says: paragraphs, emphasis, links
money            minor units with a currency, and the limits of a gift
new_settings     an environment file with secrets of its own
open_enum        an enum of words that somebody else chooses
safety_policy    the donor safety policy, a TOML file
secret_files     secrets of the environment that are in files
secret_strength  refuses what somebody could guess
setting_types    how an operator writes each kind of value
settings         read once from the environment, checked, frozen

It reads files and the environment, but neither the database nor the network, and holds no table. It
imports nothing of ours.
"""
