// Builds the widget's file from payments/web/widget/donate-form.js: smaller, and named by its hash.
// A file that was released is never removed: articles hold its address and its hash.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { constants, brotliCompressSync } from "node:zlib";
import { minify } from "terser";

const FOLDER = new URL("../payments/web/widget/", import.meta.url);
const source = readFileSync(new URL("donate-form.js", FOLDER), "utf8");
const compress = { passes: 3, unsafe_arrows: true, ecma: 2020, keep_fargs: false };
const built = await minify(source, { compress, mangle: true });
const code = Buffer.from(built.code.replaceAll("\\n", "")); // line ends of the style
const name = createHash("sha384").update(code).digest("hex").slice(0, 16);
const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: code.length };
writeFileSync(new URL(`${name}.js`, FOLDER), code);
writeFileSync(new URL(`${name}.js.br`, FOLDER), brotliCompressSync(code, { params }));
const made = { current: name, source: createHash("sha256").update(source).digest("hex") };
writeFileSync(new URL("built.json", FOLDER), JSON.stringify(made, null, 2) + "\n");
