// A shop's year with stripe-node: everything it does is checked, and one line of JSON tells each check.
// Usage: STRIPE_NODE=<folder of the package> SANDBOX=<url> node journey.mjs

import http from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(`${process.env.STRIPE_NODE}/`));
const Stripe = require('stripe').default ?? require('stripe');
const sandbox = new URL(process.env.SANDBOX);
const VERSION = '2026-10-28.endive';
const DAY = 24 * 60 * 60;

const client = (key = 'sk_test_journey', options = {}) =>
  new Stripe(key, {
    host: sandbox.hostname, port: sandbox.port, protocol: 'http',
    apiVersion: VERSION, telemetry: false, maxNetworkRetries: 0, ...options,
  });
const stripe = client();

const check = (name, ok, detail) =>
  console.log(JSON.stringify({ name, ok: Boolean(ok), detail: ok ? undefined : detail }));
const equal = (name, actual, expected) =>
  check(name, JSON.stringify(actual) === JSON.stringify(expected), { actual, expected });
async function refused(name, promise, expected) {
  try {
    check(name, false, { answered: await promise });
  } catch (error) {
    const actual = Object.fromEntries(Object.keys(expected).map((key) => [key, error[key]]));
    equal(name, actual, expected);
  }
}
async function section(name, act) {
  try {
    await act();
  } catch (error) {
    check(`${name} goes to its end`, false, { error: String(error), stack: error.stack });
  }
  await control('deliveries/flush', {});
}

async function control(path, body) {
  const response = await fetch(new URL(`/_control/${path}`, sandbox), {
    method: body === undefined ? 'GET' : 'POST',
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: { 'Content-Type': 'application/json' },
  });
  if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
  return response.json();
}
const advance = (days) => control('clock', { advance_seconds: days * DAY });
async function pay(url, card = '4242424242424242', complete = true) {
  let response = await fetch(url, {
    method: 'POST',
    redirect: 'manual',
    body: new URLSearchParams({
      email: 'ada@example.org', name: 'Ada', card, expiry: '12/49', cvc: '123',
    }),
  });
  if (response.status === 303 && response.headers.get('Location').includes('authenticate')) {
    response = await fetch(new URL(response.headers.get('Location'), url), {
      method: 'POST',
      redirect: 'manual',
      body: new URLSearchParams({ answer: complete ? 'complete' : 'fail' }),
    });
  }
  return response;
}

// ---- the shop's own endpoint, whose events are verified by stripe-node -------------------------

const received = [];
let endpoint;
const listener = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    const signature = request.headers['stripe-signature'];
    try {
      const event = stripe.webhooks.constructEvent(body, signature, endpoint.secret);
      received.push({ event, body, signature });
      response.writeHead(200).end();
    } catch (error) {
      received.push({ error: String(error) });
      response.writeHead(400).end();
    }
  });
});
await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
const hook = `http://127.0.0.1:${listener.address().port}/hook`;

let product, monthly, once, customer, charge, paidSession, subscription;

await section('the catalogue', async () => {
  endpoint = await stripe.webhookEndpoints.create({ url: hook, enabled_events: ['*'] });
  check('an endpoint has a secret when it is made', endpoint.secret.startsWith('whsec_'));
  equal('and not later', (await stripe.webhookEndpoints.retrieve(endpoint.id)).secret, undefined);
  product = await stripe.products.create({ name: 'Membership', metadata: { tier: 'gold' } });
  equal('a product is a product', product.object, 'product');
  check('its answer tells the request', product.lastResponse.requestId.startsWith('req_'));
  equal('and the version', product.lastResponse.apiVersion, VERSION);
  equal('metadata is stored', product.metadata, { tier: 'gold' });
  const renamed = await stripe.products.update(product.id, { name: 'Member', metadata: { tier: '' } });
  equal('a product is renamed', renamed.name, 'Member');
  equal('an empty value unsets a key', renamed.metadata, {});
  monthly = await stripe.prices.create({
    currency: 'usd', unit_amount: 700, product: product.id, recurring: { interval: 'month' },
    lookup_key: 'monthly',
  });
  equal('a price recurs', [monthly.type, monthly.recurring.interval], ['recurring', 'month']);
  equal('with an exact amount', String(monthly.unit_amount_decimal), '700');
  once = await stripe.prices.create({ currency: 'usd', unit_amount: 2500, product: product.id });
  equal('another is for once', once.type, 'one_time');
  const found = await stripe.prices.list({ lookup_keys: ['monthly'] });
  equal('a price is found by its key', found.data.map((each) => each.id), [monthly.id]);
  const recurring = await stripe.prices.list({ type: 'recurring' });
  equal('prices are found by type', recurring.data.map((each) => each.id), [monthly.id]);
  equal('a recurring price is a plan', (await stripe.plans.retrieve(monthly.id)).amount, 700);
  const quiet = await stripe.prices.update(once.id, { nickname: 'single' });
  equal('a price has a nickname', quiet.nickname, 'single');
  await refused('a product with prices stays', stripe.products.del(product.id), {
    type: 'StripeInvalidRequestError', statusCode: 400,
  });
  const unsold = await stripe.products.create({ name: 'Never sold' });
  equal('one without goes', (await stripe.products.del(unsold.id)).deleted, true);
  await refused('and is no more', stripe.products.retrieve(unsold.id), {
    type: 'StripeInvalidRequestError', statusCode: 404, code: 'resource_missing', param: 'id',
  });
  await refused('a price needs a product', stripe.prices.create({ currency: 'usd', unit_amount: 1 }), {
    type: 'StripeInvalidRequestError', statusCode: 400,
  });
  await refused('a currency must exist',
    stripe.prices.create({ currency: 'zzz', unit_amount: 100, product: product.id }),
    { type: 'StripeInvalidRequestError', param: 'currency' });
});

await section('customers', async () => {
  customer = await stripe.customers.create({
    email: 'ada@example.org', name: 'Ada', address: { country: 'DE', city: 'Lindenau' },
    preferred_locales: ['de'],
  });
  equal('a customer has an address', customer.address.city, 'Lindenau');
  equal('and locales', customer.preferred_locales, ['de']);
  const changed = await stripe.customers.update(customer.id, { email: 'lovelace@example.org' });
  equal('an email is changed', changed.email, 'lovelace@example.org');
  const listed = await stripe.customers.list({ email: 'lovelace@example.org' });
  equal('customers are found by email', listed.data.map((each) => each.id), [customer.id]);
  equal('nobody by another', (await stripe.customers.list({ email: 'x@example.org' })).data, []);
  await refused('an unknown parameter is refused', stripe.customers.create({ colour: 'red' }), {
    type: 'StripeInvalidRequestError', code: 'parameter_unknown', param: 'colour', statusCode: 400,
  });
  await refused('a customer must exist', stripe.customers.retrieve('cus_nobody'), {
    type: 'StripeInvalidRequestError', code: 'resource_missing', statusCode: 404,
  });
  const gone = await stripe.customers.create({});
  equal('a customer is deleted', (await stripe.customers.del(gone.id)).deleted, true);
  equal('and reported as deleted', (await stripe.customers.retrieve(gone.id)).deleted, true);
  equal('no legacy sources', (await stripe.customers.listSources(customer.id)).data, []);
  equal('no tax ids', (await stripe.customers.listTaxIds(customer.id)).data, []);
});

await section('payment methods', async () => {
  const card = await stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id });
  equal('a card is attached', [card.customer, card.card.brand], [customer.id, 'visa']);
  const listed = await stripe.customers.listPaymentMethods(customer.id);
  equal('and listed', listed.data.map((each) => each.id), [card.id]);
  const named = await stripe.paymentMethods.update(card.id, { billing_details: { name: 'Ada L' } });
  equal('its details change', named.billing_details.name, 'Ada L');
  const settled = await stripe.customers.update(customer.id, {
    invoice_settings: { default_payment_method: card.id },
  });
  equal('it is the default', settled.invoice_settings.default_payment_method, card.id);
  const shown = await stripe.customers.retrieve(customer.id, {
    expand: ['invoice_settings.default_payment_method'],
  });
  equal('an id inside is expanded', shown.invoice_settings.default_payment_method.object,
    'payment_method');
  const spare = await stripe.paymentMethods.attach('pm_card_mastercard', { customer: customer.id });
  equal('a card is detached', (await stripe.paymentMethods.detach(spare.id)).customer, null);
  await refused('and pays no more', stripe.paymentIntents.create({
    amount: 500, currency: 'usd', customer: customer.id, payment_method: spare.id, confirm: true,
  }), { type: 'StripeInvalidRequestError', statusCode: 400 });
  await refused('a method must exist', stripe.paymentMethods.retrieve('pm_nothing'), {
    statusCode: 404, code: 'resource_missing',
  });
});

await section('payment intents', async () => {
  const open = await stripe.paymentIntents.create({
    amount: 1900, currency: 'usd', customer: customer.id, metadata: { order: '7' },
  });
  equal('an intent waits for a card', open.status, 'requires_payment_method');
  const paid = await stripe.paymentIntents.confirm(open.id, {
    payment_method: 'pm_card_visa', return_url: 'https://shop.example/back',
  });
  equal('and is paid', [paid.status, paid.amount_received], ['succeeded', 1900]);
  charge = await stripe.charges.retrieve(paid.latest_charge);
  equal('with a charge', [charge.paid, charge.amount, charge.metadata], [true, 1900, { order: '7' }]);
  check('the charge has a receipt', (await fetch(charge.receipt_url)).ok);
  const second = await stripe.paymentIntents.create({ amount: 500, currency: 'usd' });
  equal('an intent is changed',
    (await stripe.paymentIntents.update(second.id, { description: 'Later' })).description, 'Later');
  equal('an intent is cancelled', (await stripe.paymentIntents.cancel(second.id)).status, 'canceled');
  await refused('only once', stripe.paymentIntents.cancel(second.id), {
    type: 'StripeInvalidRequestError', code: 'payment_intent_unexpected_state',
  });
  await refused('a declined card is a card error', stripe.paymentIntents.create({
    amount: 500, currency: 'usd', payment_method: 'pm_card_chargeDeclined', confirm: true,
    return_url: 'https://shop.example/back',
  }), { type: 'StripeCardError', code: 'card_declined', decline_code: 'generic_decline', statusCode: 402 });
  await refused('too little is refused', stripe.paymentIntents.create({ amount: 10, currency: 'usd' }), {
    type: 'StripeInvalidRequestError', code: 'amount_too_small', param: 'amount',
  });
  await refused('payment_method_types is gone', stripe.paymentIntents.create({
    amount: 500, currency: 'usd', payment_method_types: ['card'],
  }), { type: 'StripeInvalidRequestError', code: 'payment_method_types_no_longer_supported' });
  const strict = await stripe.paymentIntents.create({
    amount: 800, currency: 'usd', payment_method: 'pm_card_authenticationRequired', confirm: true,
    return_url: 'https://shop.example/back',
  });
  equal('3-D Secure asks for more', strict.status, 'requires_action');
});

await section('Checkout', async () => {
  const session = await stripe.checkout.sessions.create({
    mode: 'payment', ui_mode: 'hosted_page', customer_creation: 'always', submit_type: 'donate',
    line_items: [{ price: once.id, quantity: 2 }],
    success_url: 'https://shop.example/thanks?s={CHECKOUT_SESSION_ID}',
    cancel_url: 'https://shop.example/', metadata: { gift: '1' },
    payment_intent_data: { metadata: { gift: '1' } },
  });
  equal('a session is open', [session.status, session.payment_status], ['open', 'unpaid']);
  equal('over two', session.amount_total, 5000);
  const page = await fetch(session.url);
  check('its page is there', page.ok);
  check('and says that no money moves', (await page.text()).includes('no real money'));
  equal('a declined card stays on the page', (await pay(session.url, '4000000000000002')).status, 402);
  const answer = await pay(session.url);
  equal('a good one is led on', answer.status, 303);
  equal('to the shop', answer.headers.get('Location'), `https://shop.example/thanks?s=${session.id}`);
  paidSession = await stripe.checkout.sessions.retrieve(session.id, {
    expand: ['payment_intent.latest_charge', 'customer', 'line_items.data.price.product'],
  });
  equal('the session is paid', [paidSession.status, paidSession.payment_status], ['complete', 'paid']);
  equal('its url is gone', paidSession.url, null);
  equal('the intent is expanded', paidSession.payment_intent.status, 'succeeded');
  equal('and its charge', paidSession.payment_intent.latest_charge.amount, 5000);
  equal('and its metadata', paidSession.payment_intent.metadata, { gift: '1' });
  equal('the customer too', paidSession.customer.email, 'ada@example.org');
  equal('and the product of a line', paidSession.line_items.data[0].price.product.id, product.id);
  const lines = await stripe.checkout.sessions.listLineItems(session.id);
  equal('lines are listed', lines.data.map((each) => each.quantity), [2]);
  const early = await stripe.checkout.sessions.create({
    mode: 'payment', line_items: [{ price: once.id, quantity: 1 }],
    success_url: 'https://shop.example/', after_expiration: { recovery: { enabled: true } },
  });
  const ended = await stripe.checkout.sessions.expire(early.id);
  equal('a session is ended', ended.status, 'expired');
  check('and can be taken up again', (await fetch(ended.after_expiration.recovery.url)).ok);
  await refused('only an open one is', stripe.checkout.sessions.expire(session.id), {
    type: 'StripeInvalidRequestError', statusCode: 400,
  });
  await refused('ui_mode hosted is gone', stripe.checkout.sessions.create({
    mode: 'payment', ui_mode: 'hosted', line_items: [{ price: once.id, quantity: 1 }],
    success_url: 'https://shop.example/',
  }), { type: 'StripeInvalidRequestError', param: 'ui_mode' });
  const secure = await stripe.checkout.sessions.create({
    mode: 'payment', line_items: [{ price: once.id, quantity: 1 }],
    success_url: 'https://shop.example/',
  });
  equal('3-D Secure is passed on the page', (await pay(secure.url, '4000002760003184')).status, 303);
  equal('and pays', (await stripe.checkout.sessions.retrieve(secure.id)).payment_status, 'paid');
});

await section('subscriptions', async () => {
  const session = await stripe.checkout.sessions.create({
    mode: 'subscription', customer: customer.id, line_items: [{ price: monthly.id, quantity: 1 }],
    success_url: 'https://shop.example/', subscription_data: { metadata: { plan: 'm' } },
  });
  equal('a subscription is bought', (await pay(session.url)).status, 303);
  const bought = await stripe.checkout.sessions.retrieve(session.id, {
    expand: ['subscription.latest_invoice.payments', 'invoice'],
  });
  subscription = bought.subscription;
  equal('it is active', subscription.status, 'active');
  equal('with its metadata', subscription.metadata, { plan: 'm' });
  equal('its period is the item\'s', subscription.current_period_end, undefined);
  const [item] = subscription.items.data;
  check('and the item has one', item.current_period_end > item.current_period_start);
  equal('its invoice is paid', subscription.latest_invoice.status, 'paid');
  equal('by a payment', subscription.latest_invoice.payments.data[0].status, 'paid');
  equal('the session names the invoice', bought.invoice.id, subscription.latest_invoice.id);
  equal('invoice.subscription has moved', bought.invoice.subscription, undefined);
  equal('to its parent', bought.invoice.parent.subscription_details.subscription, subscription.id);
  const items = await stripe.subscriptionItems.list({ subscription: subscription.id });
  equal('items are listed', items.data.map((each) => each.id), [item.id]);
  equal('and retrieved', (await stripe.subscriptionItems.retrieve(item.id)).price.id, monthly.id);
  await advance(31);
  const later = await stripe.subscriptions.retrieve(subscription.id);
  check('it renews', later.items.data[0].current_period_start >= item.current_period_end);
  const invoices = await stripe.invoices.list({ subscription: subscription.id });
  equal('with an invoice', invoices.data.map((each) => each.billing_reason),
    ['subscription_cycle', 'subscription_create']);
  const raised = await stripe.subscriptions.update(subscription.id, {
    items: [{ id: item.id, price_data: {
      currency: 'usd', product: product.id, unit_amount: 900, recurring: { interval: 'month' },
    } }],
    proration_behavior: 'none',
  });
  equal('its amount is raised', raised.items.data[0].price.unit_amount, 900);
  const ending = await stripe.subscriptions.update(subscription.id, { cancel_at_period_end: true });
  equal('it ends with its period', [ending.cancel_at_period_end, ending.status], [true, 'active']);
  const going = await stripe.subscriptions.update(subscription.id, { cancel_at_period_end: false });
  equal('or goes on', going.cancel_at, null);
  const held = await stripe.subscriptions.update(subscription.id, {
    pause_collection: { behavior: 'void' },
  });
  equal('its collection is paused', held.pause_collection.behavior, 'void');
  equal('and resumed',
    (await stripe.subscriptions.update(subscription.id, { pause_collection: '' })).pause_collection, null);
  equal('it is paused', (await stripe.subscriptions.pause(subscription.id, {
    type: 'subscription', bill_for: { unused_time_from: { type: 'none' } },
  })).status, 'paused');
  equal('and resumed', (await stripe.subscriptions.resume(subscription.id)).status, 'active');
  const listed = await stripe.subscriptions.list({ customer: customer.id, status: 'active' });
  equal('it is listed by status', listed.data.map((each) => each.id), [subscription.id]);
  const direct = await stripe.subscriptions.create({
    customer: customer.id, items: [{ price: monthly.id }], metadata: { by: 'api' },
  });
  equal('the API starts one too', direct.status, 'active');
  const trial = await stripe.subscriptions.create({
    customer: customer.id, items: [{ price: monthly.id }], trial_period_days: 7,
  });
  equal('one has a trial', trial.status, 'trialing');
  const ended = await stripe.subscriptions.cancel(direct.id);
  equal('one is cancelled', [ended.status, ended.cancel_at_period_end], ['canceled', false]);
  await refused('and stays so', stripe.subscriptions.update(direct.id, {
    cancel_at_period_end: true,
  }), {
    type: 'StripeInvalidRequestError',
  });
  await refused('a price must exist', stripe.subscriptions.create({
    customer: customer.id, items: [{ price: 'price_nothing' }],
  }), { code: 'resource_missing', param: 'items[0][price]' });
});

await section('invoices', async () => {
  await stripe.invoiceItems.create({
    customer: customer.id, amount: 1200, currency: 'usd', description: 'A book',
  });
  const draft = await stripe.invoices.create({
    customer: customer.id, pending_invoice_items_behavior: 'include', auto_advance: false,
  });
  equal('an invoice is a draft', [draft.status, draft.amount_due], ['draft', 1200]);
  const open = await stripe.invoices.finalizeInvoice(draft.id);
  check('finalized it has a number', open.status === 'open' && open.number.includes('-'), open.number);
  check('a page', (await fetch(open.hosted_invoice_url)).ok);
  const pdf = await fetch(open.invoice_pdf);
  equal('and a PDF', pdf.headers.get('Content-Type'), 'application/pdf');
  check('that is one', (await pdf.text()).startsWith('%PDF-'));
  equal('it is paid', (await stripe.invoices.pay(open.id)).status, 'paid');
  await refused('only once', stripe.invoices.pay(open.id), { code: 'invoice_already_paid' });
  const [payment] = (await stripe.invoicePayments.list({ invoice: open.id })).data;
  equal('its payment names the intent', payment.payment.type, 'payment_intent');
  const lines = await stripe.invoices.listLineItems(open.id);
  equal('its lines are listed', lines.data.map((each) => each.description), ['A book']);
  await stripe.invoiceItems.create({ customer: customer.id, amount: 300, currency: 'usd' });
  const other = await stripe.invoices.create({
    customer: customer.id, pending_invoice_items_behavior: 'include', auto_advance: false,
  });
  await stripe.invoices.finalizeInvoice(other.id);
  equal('an invoice is void', (await stripe.invoices.voidInvoice(other.id)).status, 'void');
  const dropped = await stripe.invoices.create({ customer: customer.id });
  equal('a draft is deleted', (await stripe.invoices.del(dropped.id)).deleted, true);
  await refused('an invoice must exist', stripe.invoices.retrieve('in_nothing'), { statusCode: 404 });
});

await section('setup', async () => {
  const intent = await stripe.setupIntents.create({
    customer: customer.id, payment_method: 'pm_card_visa', confirm: true, usage: 'off_session',
    return_url: 'https://shop.example/back',
  });
  equal('a card is set up', intent.status, 'succeeded');
  equal('for the customer', intent.customer, customer.id);
  const attempts = await stripe.setupAttempts.list({ setup_intent: intent.id });
  equal('with an attempt', attempts.data.map((each) => each.status), ['succeeded']);
  const session = await stripe.checkout.sessions.create({
    mode: 'setup', customer: customer.id, currency: 'usd', success_url: 'https://shop.example/',
  });
  equal('a card is saved on a page', (await pay(session.url)).status, 303);
  const saved = await stripe.checkout.sessions.retrieve(session.id, {
    expand: ['setup_intent.payment_method'],
  });
  equal('as a payment method', saved.setup_intent.payment_method.type, 'card');
  await refused('a declined card is not', stripe.setupIntents.create({
    customer: customer.id, payment_method: 'pm_card_chargeDeclined', confirm: true,
    return_url: 'https://shop.example/back',
  }), { type: 'StripeCardError', code: 'card_declined' });
  const open = await stripe.setupIntents.create({ customer: customer.id });
  equal('a setup is cancelled', (await stripe.setupIntents.cancel(open.id)).status, 'canceled');
});

await section('refunds', async () => {
  const part = await stripe.refunds.create({
    charge: charge.id, amount: 400, reason: 'requested_by_customer', metadata: { why: 'sorry' },
  });
  equal('a part is refunded', [part.status, part.amount], ['succeeded', 400]);
  equal('its reason is stored', part.reason, 'requested_by_customer');
  const after = await stripe.charges.retrieve(charge.id, { expand: ['refunds'] });
  equal('the charge says so', [after.amount_refunded, after.refunded], [400, false]);
  equal('and lists it', after.refunds.data.map((each) => each.id), [part.id]);
  await refused('no more than is left', stripe.refunds.create({ charge: charge.id, amount: 1900 }), {
    type: 'StripeInvalidRequestError', param: 'amount',
  });
  const rest = await stripe.refunds.create({ payment_intent: charge.payment_intent });
  equal('the rest is refunded', rest.amount, 1500);
  await refused('and nothing twice', stripe.refunds.create({ charge: charge.id }), {
    code: 'charge_already_refunded',
  });
  const noted = await stripe.refunds.update(part.id, { metadata: { why: 'late' } });
  equal('a note is changed', noted.metadata, { why: 'late' });
  const listed = await stripe.refunds.list({ charge: charge.id });
  equal('refunds are listed, newest first', listed.data.map((each) => each.id), [rest.id, part.id]);
});

await section('disputes', async () => {
  const intent = await stripe.paymentIntents.create({
    amount: 3300, currency: 'usd', payment_method: 'pm_card_createDispute', confirm: true,
    return_url: 'https://shop.example/back',
  });
  await advance(1);
  const [dispute] = (await stripe.disputes.list({ payment_intent: intent.id })).data;
  equal('a charge is disputed', [dispute.status, dispute.amount], ['needs_response', 3300]);
  equal('with its money withdrawn', dispute.balance_transactions.map((each) => each.amount), [-3300]);
  const answered = await stripe.disputes.update(dispute.id, {
    evidence: { uncategorized_text: 'winning_evidence' }, submit: true,
  });
  check('it is answered', ['under_review', 'won'].includes(answered.status), answered.status);
  await advance(80);
  equal('and won', (await stripe.disputes.retrieve(dispute.id)).status, 'won');
  const disputed = await stripe.charges.retrieve(intent.latest_charge);
  equal('the charge says so', disputed.disputed, true);
  await refused('a dispute must exist', stripe.disputes.retrieve('dp_nothing'), { statusCode: 404 });
});

await section('balance and payouts', async () => {
  await advance(7);
  const found = await stripe.charges.retrieve(charge.id, { expand: ['balance_transaction'] });
  const row = found.balance_transaction;
  equal('a charge has its fee', row.fee, 85);
  equal('net is amount less fee', row.net, row.amount - row.fee);
  const rows = [];
  for await (const each of stripe.balanceTransactions.list({ limit: 3, expand: ['data.source'] })) {
    rows.push(each);
  }
  check('every transaction is paged', rows.length > 10, rows.length);
  equal('each once', new Set(rows.map((each) => each.id)).size, rows.length);
  equal('sources are expanded', rows.filter((each) => typeof each.source === 'string').length, 0);
  const balance = await stripe.balance.retrieve();
  const total = [...balance.available, ...balance.pending]
    .filter((each) => each.currency === 'usd').reduce((sum, each) => sum + each.amount, 0);
  const net = rows.filter((each) => each.currency === 'usd').reduce((sum, each) => sum + each.net, 0);
  equal('the balance is their sum', total, net);
  const payouts = await stripe.payouts.list({ limit: 100, status: 'paid', expand: ['data.destination'] });
  check('money is paid out', payouts.data.length > 1, payouts.data.length);
  equal('to a bank account', payouts.data[0].destination.object, 'bank_account');
  const payout = payouts.data.find((each) => each.automatic);
  equal('reconciled', payout.reconciliation_status, 'completed');
  const parts = await stripe.balanceTransactions
    .list({ payout: payout.id, limit: 100 }).autoPagingToArray({ limit: 1000 });
  const sum = parts.filter((each) => each.type !== 'payout').reduce((all, each) => all + each.net, 0);
  equal('a payout is the sum of its parts', sum, payout.amount);
  const added = await stripe.topups.create({ amount: 9000, currency: 'usd', description: 'Start' });
  equal('a top-up is added', added.amount, 9000);
  await stripe.paymentIntents.create({
    amount: 900, currency: 'usd', payment_method: 'pm_card_bypassPending', confirm: true,
    return_url: 'https://shop.example/back',
  });
  await advance(1 / 24);
  const manual = await stripe.payouts.create({ amount: 200, currency: 'usd' });
  equal('a payout is made by hand', [manual.automatic, manual.status], [false, 'pending']);
  equal('and cancelled', (await stripe.payouts.cancel(manual.id)).status, 'canceled');
  await refused('not more than there is', stripe.payouts.create({ amount: 99999999, currency: 'usd' }), {
    code: 'balance_insufficient',
  });
  const account = await stripe.accounts.retrieveCurrent();
  equal('the account is known', account.object, 'account');
  const banks = await stripe.accounts.listExternalAccounts(account.id);
  check('with its banks', banks.data.length > 0);
});

await section('lists', async () => {
  for (let count = 0; count < 25; count += 1) await stripe.customers.create({ name: `n${count}` });
  const all = await stripe.customers.list({ limit: 7 }).autoPagingToArray({ limit: 1000 });
  check('auto-paging reaches all', all.length >= 26, all.length);
  equal('each once', new Set(all.map((each) => each.id)).size, all.length);
  const first = await stripe.customers.list({ limit: 5 });
  equal('a page says that there are more', first.has_more, true);
  const next = await stripe.customers.list({ limit: 5, starting_after: first.data[4].id });
  equal('the next follows', next.data.map((each) => each.id), all.slice(5, 10).map((each) => each.id));
  const back = await stripe.customers.list({ limit: 5, ending_before: next.data[0].id });
  equal('and back', back.data.map((each) => each.id), first.data.map((each) => each.id));
  equal('a list tells its path', first.url, '/v1/customers');
  const none = await stripe.customers.list({ created: { gt: 4000000000 } });
  equal('nothing is of the future', none.data, []);
  await refused('a page has a limit', stripe.customers.list({ limit: 101 }), {
    code: 'parameter_invalid_integer', param: 'limit',
  });
  await refused('a cursor must exist', stripe.customers.list({ starting_after: 'cus_nobody' }), {
    param: 'starting_after', statusCode: 400,
  });
  for (const name of ['coupons', 'promotionCodes', 'creditNotes', 'subscriptionSchedules', 'taxRates',
    'taxIds', 'transfers', 'applicationFees', 'files', 'fileLinks', 'reviews', 'quotes',
    'shippingRates', 'paymentLinks', 'accounts']) {
    equal(`${name} are none`, (await stripe[name].list({ limit: 2 })).data, []);
  }
});

await section('expansion', async () => {
  await refused('an unknown property', stripe.customers.retrieve(customer.id, { expand: ['nothing'] }), {
    type: 'StripeInvalidRequestError', rawType: 'invalid_request_error', param: 'expand',
    message: 'This property cannot be expanded (nothing).',
  });
  await refused('a part of the object', stripe.charges.list({ expand: ['data.billing_details'] }), {
    message: 'This property cannot be expanded (data.billing_details).',
  });
  await refused('more than four levels', stripe.charges.list({
    expand: ['data.payment_intent.customer.subscriptions.data'],
  }), { param: 'expand' });
  const listed = await stripe.invoices.list({ expand: ['data.customer', 'data.payments.data'], limit: 1 })
    .catch(() => stripe.invoices.list({ expand: ['data.customer', 'data.payments'], limit: 1 }));
  equal('a list is expanded', listed.data[0].customer.object, 'customer');
  const shown = await stripe.prices.retrieve(once.id, { expand: ['product', 'currency_options'] });
  equal('what is hidden is shown', Object.keys(shown.currency_options), ['usd']);
  const subscriptions = await stripe.customers.retrieve(customer.id, { expand: ['subscriptions', 'sources'] });
  check('lists too', subscriptions.subscriptions.data.length > 0);
  equal('empty ones too', subscriptions.sources.data, []);
});

await section('idempotency', async () => {
  const options = { idempotencyKey: 'journey-1' };
  const first = await stripe.customers.create({ name: 'Once' }, options);
  const again = await stripe.customers.create({ name: 'Once' }, options);
  equal('a request is done once', again.id, first.id);
  equal('and says so', again.lastResponse.headers['idempotent-replayed'], 'true');
  equal('the key is reported', again.lastResponse.idempotencyKey ?? 'journey-1', 'journey-1');
  await refused('other parameters are refused', stripe.customers.create({ name: 'Twice' }, options), {
    type: 'StripeIdempotencyError', statusCode: 400,
  });
  await refused('another path too', stripe.products.create({ name: 'Once' }, options), {
    type: 'StripeIdempotencyError',
  });
});

await section('errors', async () => {
  await refused('no key', client('sk_live_wrong').customers.list(), {
    type: 'StripeAuthenticationError', statusCode: 401,
  });
  await control('faults', { path: '/v1/customers', kind: 'rate_limited', times: 1 });
  await refused('too many requests', stripe.customers.list(), {
    type: 'StripeRateLimitError', statusCode: 429,
  });
  await control('faults', { path: '/v1/customers', kind: 'status_500', times: 1 });
  await refused('an error of Stripe\'s', stripe.customers.list(), {
    type: 'StripeAPIError', statusCode: 500,
  });
  await control('faults', { path: '/v1/customers', kind: 'drop_before', times: 2 });
  await refused('a lost connection', stripe.customers.list(), { type: 'StripeConnectionError' });
  await control('faults', { path: '/v1/customers', kind: 'drop_after', times: 1 });
  const patient = client('sk_test_journey', { maxNetworkRetries: 2 });
  const made = await patient.customers.create({ name: 'Retried' });
  const found = await stripe.customers.list({ limit: 3 });
  equal('a retry does nothing twice', found.data.filter((each) => each.name === 'Retried').length, 1);
  equal('and answers', made.name, 'Retried');
  await refused('no such path', stripe.rawRequest('GET', '/v1/nonsense'), { statusCode: 404 });
  await refused('what the sandbox does not do', stripe.coupons.create({ percent_off: 10 }), {
    type: 'StripeInvalidRequestError',
  });
  await refused('test clocks are not done either', stripe.testHelpers.testClocks.create({
    frozen_time: 1800000000,
  }), { type: 'StripeInvalidRequestError' });
});

await section('webhooks', async () => {
  check('many events arrive', received.length > 60, received.length);
  equal('each is verified', received.filter((each) => each.error), []);
  equal('at our version', [...new Set(received.map((each) => each.event.api_version))], [VERSION]);
  const types = new Set(received.map((each) => each.event.type));
  for (const type of ['product.created', 'price.created', 'customer.created', 'customer.updated',
    'payment_method.attached', 'payment_intent.succeeded', 'charge.succeeded', 'charge.updated',
    'charge.refunded', 'refund.created', 'charge.dispute.created', 'charge.dispute.closed',
    'checkout.session.completed', 'checkout.session.expired', 'customer.subscription.created',
    'customer.subscription.updated', 'customer.subscription.deleted', 'customer.subscription.paused',
    'customer.subscription.resumed', 'invoice.paid', 'invoice.voided', 'invoice_payment.paid',
    'setup_intent.succeeded', 'payout.paid', 'payout.reconciliation_completed']) {
    check(`${type} is among them`, types.has(type), [...types].sort());
  }
  const { event, body, signature } = received[0];
  const stored = await stripe.events.retrieve(event.id).catch(() => null);
  check('an event is listed for thirty days', stored === null || stored.type === event.type);
  const tampered = Buffer.from(body.toString().replace('"livemode":false', '"livemode":true'));
  for (const [name, text, secret] of [['a changed body', tampered, endpoint.secret],
    ['another secret', body, 'whsec_other']]) {
    let error = null;
    try {
      stripe.webhooks.constructEvent(text, signature, secret);
    } catch (caught) {
      error = caught;
    }
    equal(`${name} is refused`, error?.type, 'StripeSignatureVerificationError');
  }
  const recent = await stripe.events.list({ type: 'payout.paid', limit: 1 });
  equal('events are found by type', recent.data[0].data.object.object, 'payout');
  const ended = await stripe.webhookEndpoints.del(endpoint.id);
  equal('an endpoint is deleted', ended.deleted, true);
});

const health = await control('health');
equal('no contract problem but those we asked for',
  health.problems.filter((each) => !/colour|payment_method_types|ui_mode/.test(each)), []);
listener.close();
