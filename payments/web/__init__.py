"""The web: pages for readers, donors and staff, and the API for programs.

A handler translates a request, calls a verb of a room and prints the result; it holds no rule, and
no SQL but that of readiness and metrics. Imports every room; only `ops` and `cli` import it.

app               the application: routes, dependencies, error pages
rendering         templates
serving           the processes that listen, and their limits
connection_guard  how many connections one client may hold
brand_files       the brand's colours and logo, named by their hash
answer_deadline   how long whoever asks waits for Stripe
body_deadline     how long a body may take
request_spelling  HEAD, and a host in other letters
request_locale    the language of a response
security_headers  headers of every response
csrf              forms of other sites are refused
risk_check        who asks: program or person, and the page where they prove or wait
account           a donor's account
api               the API for programs
donate            the donation form and the way to Stripe Checkout
finance           the books, for finance
finance_api       the same figures, for programs with a token
staff             signing in of colleagues, and who may open which page
support           one donor at a time, for support
bearer_token      how tools of the operator show who they are
cookies           for this host alone
demo_inbox        the demo's mails and its clock
errors            problem+json for programs, a page for people
forms             forms as text, JSON decoded strictly
health            health checks and metrics
newsletter        signing up, confirming and leaving
form_answers      no page is the answer to a form
paths             where the addresses of colleagues and of machines begin
operator_metrics  what an operator's Prometheus reads from the database
origins           the base URL and its alternates
reminders         signing up, confirming, the calendar file and leaving
static_files      style sheets and scripts
widget_files      the built files of the widget, sent compressed
security_txt      /.well-known/security.txt
"""
