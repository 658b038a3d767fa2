"""What tests of mails look for."""

import re

# What would tell somebody at the donor's shoulder what the payment is for.
TELLTALE = re.compile(
    r"courier|donat|donor|\bgift|\bgiv(e|es|ing)\b|charit|newsroom|journalis|"
    r"newspaper|\bnews\b|\bmedia\b|reader|reporter|reporting|publish|publication|article|"
    r"membership|campaign|жертв|донат|донор|подар|журнал|газет|редакц|изда[нт]|новост|"
    r"читател|стать|благотвор|подписк|поддерж",
    re.IGNORECASE,
)
