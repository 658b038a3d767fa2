// Copies an account into PostgreSQL with stripe-sync-engine, then counts the rows of its tables.
// Usage: STRIPE_NODE=<folder> SANDBOX=<url> DATABASE=<url> node copy_with_sync_engine.mjs

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(`${process.env.STRIPE_NODE}/`));
const Stripe = require('stripe').default ?? require('stripe');
const { StripeSync, runMigrations } = require('@supabase/stripe-sync-engine');
const { Client } = require('pg');

const sandbox = new URL(process.env.SANDBOX);
const databaseUrl = process.env.DATABASE;
const errors = [];
const quiet = () => undefined;
const logger = {
  info: quiet, debug: quiet, warn: quiet,
  error: (...what) => errors.push(what.map(String).join(' ')),
};

await runMigrations({ databaseUrl, schema: 'stripe', logger });
const sync = new StripeSync({
  poolConfig: { connectionString: databaseUrl, max: 2 },
  stripeSecretKey: 'sk_test_copy', stripeWebhookSecret: 'whsec_copy',
  stripeApiVersion: '2026-10-28.endive', autoExpandLists: true, backfillRelatedEntities: true,
  logger,
});
// It takes no address; its client is given one.
sync.stripe = new Stripe('sk_test_copy', {
  host: sandbox.hostname, port: sandbox.port, protocol: 'http',
  apiVersion: '2026-10-28.endive', telemetry: false,
});
const report = await sync.syncBackfill({ object: 'all' });

const client = new Client({ connectionString: databaseUrl });
await client.connect();
const tables = await client.query(
  "SELECT table_name FROM information_schema.tables WHERE table_schema = 'stripe' AND table_type = 'BASE TABLE' ORDER BY 1",
);
const rows = {};
for (const { table_name: name } of tables.rows) {
  const counted = await client.query(`SELECT count(*)::int AS count FROM stripe."${name}"`);
  rows[name] = counted.rows[0].count;
}
await client.end();
console.log(JSON.stringify({ report, rows, errors }));
process.exit(0);
