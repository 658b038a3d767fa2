// <donate-form>: asks for support at the end of an article, and leads to the form at /donate.
// Attributes: base, currency, presets, min, max, frequency, amount, offered, campaign, article,
// publication, lang, words, snooze, supporter; variants, one of which is drawn at random and
// stored nowhere. Events: donate-form:choose, error, submit, remind, snooze; submit and remind can
// be prevented. Parts: form heading frequency amount choice other button icons remind.
// Properties: --donate-accent, -on-accent, -paper, -ink, -radius, -font; and color-scheme, to have
// it light or dark always.
// It makes no request, and stores only that a reader dismissed it, and for how long.
const WORDS = {
  title: "Support {publication}",
  often: "How often?",
  once: "Once",
  monthly: "Monthly",
  annual: "Annual",
  much: "How much?",
  other: "Other amount",
  range: "From {min} to {max}",
  go: "Continue",
  go_once: "Continue with {amount}",
  go_monthly: "Continue with {amount} a month",
  go_annual: "Continue with {amount} a year",
  number: "Please enter an amount in digits, for example {example}",
  ambiguous: "Did you mean {one} or {two}?",
  card: "Card",
  bank: "Bank",
  wallet: "Wallet",
  pay: "You will pay on Stripe's page.",
  remind: "Remind me later",
  snooze: "Not now",
  giving: "I already support you",
};
const ICONS = {
  card: "M2 5h20v14H2zM2 10h20M5 15h4",
  bank: "M3 10l9-6 9 6zM6 10v8M12 10v8M18 10v8M3 20h18",
  wallet: "M3 6h16v14H3zM3 6l12-3v3M15 11h6v4h-6z",
};

// --- amounts: parsed as payments/core/amount_input.py parses them ---
const DECIMALS = (code) => ({ jpy: 0, kwd: 3 })[code] ?? 2;
const SYMBOLS = {
  usd: "$ US$", eur: "€", gbp: "£", cad: "$ CA$ C$", aud: "$ AU$ A$", chf: "Fr Fr. SFr.",
  sek: "kr kr.", nok: "kr kr.", dkk: "kr kr.", pln: "zł zl", jpy: "¥ 円", kwd: "KD د.ك",
};
const GROUPED = /^(?:[0-9]+|[1-9][0-9]{0,2}([.,' ])[0-9]{3}(\1[0-9]{3})*|[1-9][0-9]?(,[0-9]{2})+,[0-9]{3})$/;
const refuse = (code, ...candidates) => {
  throw { code, candidates };
};

function digit(character) {
  let start = character.codePointAt(0);
  const end = start;
  while (/\p{Nd}/u.test(String.fromCodePoint(start - 1))) start--;
  return (end - start) % 10;
}

const fold = (text) =>
  text.normalize("NFKC").toLowerCase()
    .replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g, "")
    .replace(/[\s\x1c-\x1f\x85]/g, " ")
    .replace(/\p{Nd}/gu, digit)
    .replace(/[`’ʼ٬]/g, "'").replace(/[،⹁]/g, ",").replace(/٫/g, ".");

function minor(whole, fraction, code) {
  whole = whole.replace(/\D/g, "");
  const decimals = DECIMALS(code), excess = fraction.slice(decimals);
  if ((whole + fraction).length > 12) refuse("range");
  const amount = +(0 + whole + fraction.slice(0, decimals).padEnd(decimals, "0"));
  if (/[^0]/.test(excess) || (excess && fraction.length == 3) || (decimals > 2 && amount % 10)) refuse("number");
  return amount || refuse("range");
}

function parse(text, code, lang) {
  const part = (type, options, number = 1234567.5) =>
    new Intl.NumberFormat(lang, { numberingSystem: "latn", ...options }).formatToParts(number).find((p) => p.type == type)?.value ?? "";
  const [point, separator] = [fold(part("decimal")), fold(part("group"))];
  if (/[\p{No}\p{Nl}]/u.test(text) || [...text].length > 64) refuse("number");
  let typed = fold(text.replace(/٫/g, point)).trim();
  const signs = [code, part("currency", { style: "currency", currency: code }), ...(SYMBOLS[code] ?? "").split(" ")]
    .filter(Boolean).map(fold).sort((a, b) => b.length - a.length);
  typed = typed.slice(signs.find((sign) => typed.startsWith(sign))?.length ?? 0);
  const last = signs.find((sign) => typed.endsWith(sign));
  typed = typed.slice(0, typed.length - (last?.length ?? 0)).trim();
  const at = Math.max(typed.lastIndexOf("."), typed.lastIndexOf(",")), mark = typed[at];
  const head = at < 0 ? "" : typed.slice(0, at), tail = at < 0 ? "" : typed.slice(at + 1);
  let grouped = GROUPED.test(typed);
  let fractional = /^\d+$/.test(tail) && !head.includes(mark) && GROUPED.test(head || "0");
  if (grouped && fractional) {
    const decimals = DECIMALS(code);
    grouped = decimals < 3 && (mark == separator || !decimals);
    fractional = mark == point && decimals == 3;
    if (!grouped && !fractional) {
      const less = minor(head, tail.replace(/0+$/, ""), code);
      refuse("ambiguous", minor(head + tail, "", code), less);
    }
  }
  if (!grouped && !fractional) refuse("number");
  return grouped ? minor(typed, "", code) : minor(head, tail, code);
}

// --- how it looks ---
const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
:host{display:block;color-scheme:light dark;--a:var(--donate-accent,light-dark(#0f4d45,#8fd1c1));--o:var(--donate-on-accent,light-dark(#fff,#0b211c));--p:var(--donate-paper,light-dark(#fff,#1e1e1b));--i:var(--donate-ink,light-dark(#1d1b18,#ece8df));--q:color-mix(in srgb,var(--i) 70%,var(--p));--b:light-dark(#9c1b1b,#ffa59a);--r:var(--donate-radius,3px)}
[hidden],:host([hidden]){display:none}
*{box-sizing:border-box;font:inherit;color:inherit}
section{padding:1rem;background:var(--p);color:var(--i);border:1px solid var(--q);border-block-start:4px solid var(--a);font:1rem/1.5 var(--donate-font,system-ui,sans-serif);overflow-wrap:break-word}
h2{margin:0 0 .5rem;font-size:1.3rem;font-weight:700}
p{margin:0 0 .6rem}
fieldset{border:0;margin:0 0 1rem;padding:0;min-inline-size:0}
legend{padding:0;margin-block-end:.4rem;font-weight:700}
.grid{display:flex;flex-wrap:wrap;gap:.5rem}
.grid>*{display:grid;flex:1 1 5rem}
.choice{position:relative}
.choice input{position:absolute;inset:0;inline-size:100%;block-size:100%;margin:0;opacity:0}
.choice span,#own,form>button{display:grid;place-content:center;inline-size:100%;min-block-size:3rem;padding:.4rem .6rem;border:1.5px solid var(--q);border-radius:var(--r);background:var(--p);font-weight:600;text-align:center}
#own{text-align:start;margin-block-start:.5rem}
form{margin-block-end:.8rem}
.choice :checked+span,form>button{background:var(--a);border-color:var(--a);color:var(--o)}
:focus-visible,:focus-visible+span{outline:3px solid var(--i);outline-offset:2px}
#own[aria-invalid=true]{border-color:var(--b)}
.quiet{color:var(--q);font-size:.9rem}
#wrong{color:var(--b);font-weight:600}
#wrong button{margin-inline-end:1rem}
.link{color:var(--a);background:none;border:0;padding:.35rem 0;text-decoration:underline}
.row{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem}
svg{inline-size:1.3em;margin-inline-end:.35em;vertical-align:middle;fill:none;stroke:currentColor;stroke-width:1.6}
@media(forced-colors:active){.choice :checked+span{forced-color-adjust:none;background:Highlight;color:HighlightText}}`);

function make(tag, attributes, ...children) {
  const space = /svg|path/.test(tag) ? "2000/svg" : "1999/xhtml";
  const element = document.createElementNS(`http://www.w3.org/${space}`, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (/^on/.test(name)) element[name] = value;
    else if (value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

class DonateForm extends HTMLElement {
  static observedAttributes = ["currency", "presets", "lang", "words"];
  static parse = parse;
  #root = this.attachShadow({ mode: "open" });

  connectedCallback() {
    this.#root.adoptedStyleSheets = [STYLE];
    const variants = JSON.parse(this.#attr("variants") || "[]"), drawn = Math.floor(Math.random() * variants.length);
    for (const [name, value] of Object.entries(variants[drawn] ?? {})) this.setAttribute(name, value);
    this.querySelectorAll("[data-variant]").forEach((one, i) => { one.hidden = i != drawn + 1; });
    this.#draw();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#draw();
  }

  get #currency() { return this.#attr("currency").toLowerCase(); }
  get #language() { return this.closest("[lang]")?.lang || "en"; }
  #attr(name) { return this.getAttribute(name) ?? ""; }
  #find(what) { return this.#root.querySelector(what); }
  #picked(name) { return this.#find(`[name=${name}]:checked`)?.value; }

  #emit(name, detail) {
    const options = { bubbles: true, composed: true, cancelable: true, detail };
    return this.dispatchEvent(new CustomEvent(`donate-form:${name}`, options));
  }

  #text(name, facts) {
    const known = { publication: this.#attr("publication"), ...facts };
    const words = { ...WORDS, ...JSON.parse(this.#attr("words") || "{}") };
    return words[name].replace(/\{(\w+)\}/g, (_, fact) => `\u2068${known[fact]}\u2069`);
  }

  #money(amount, style) {
    const decimals = DECIMALS(this.#currency);
    const text = new Intl.NumberFormat(this.#language, {
      style: style ?? "currency", currency: this.#currency, useGrouping: !style,
      minimumFractionDigits: !style && amount % 10 ** decimals == 0 ? 0 : decimals,
      maximumFractionDigits: decimals,
    }).format(amount / 10 ** decimals);
    // Without the mark "US$" ends as "$US" where one reads from the right.
    return style ? text : text + "\u200e";
  }

  // --- what is there ---
  #choice(name, value, text, checked) {
    const radio = make("input", { type: "radio", name, value, required: "", checked: checked ? "" : null });
    return make("label", { class: "choice", part: "choice" }, radio, make("span", {}, text));
  }

  #link(name, onclick, href) {
    const tag = href ? "a" : "button", type = href ? null : "button";
    return make(tag, { class: "link", type, href, onclick }, this.#text(name));
  }

  #draw() {
    let until = 0;
    try { until = localStorage.getItem("donate-form"); } catch { /* not allowed here */ }
    this.hidden = this.hasAttribute("supporter") || Date.now() < until;
    const offered = (this.#attr("offered") || "once monthly annual").split(" ");
    const first = offered.find((f) => f == this.#attr("frequency")) ?? offered[1] ?? offered[0];
    const code = ` (${this.#currency.toUpperCase()})`;
    this.#root.replaceChildren(make("section", { part: "form", "aria-labelledby": "title" },
      make("h2", { part: "heading", id: "title" }, this.#text("title")),
      make("slot", { name: "message" }),
      make("form", {
        action: `${this.#attr("base")}/donate`,
        oninput: (event) => this.#chosen(event.target),
        onsubmit: (event) => this.#submit(event),
        onformdata: ({ formData }) => this.#fill(formData),
      },
      make("fieldset", { part: "frequency" }, make("legend", {}, this.#text("often")),
        make("div", { class: "grid" }, ...offered.map((f) => this.#choice("often", f, this.#text(f), f == first)))),
      make("fieldset", { part: "amount" }, make("legend", {}, this.#text("much") + code), make("div", { id: "much", class: "grid" })),
      make("fieldset", { id: "other", part: "other" },
        make("label", { for: "own" }, this.#text("other") + code),
        make("div", { id: "hint", class: "quiet" }, this.#text("range", this.#facts())),
        make("div", { id: "wrong", role: "alert" }),
        make("input", { id: "own", inputmode: "decimal", autocomplete: "off", "aria-describedby": "hint wrong" })),
      make("button", { part: "button" })),
      make("p", { part: "icons", class: "row quiet" }, ...Object.keys(ICONS).map((name) =>
        make("span", {}, make("svg", { viewBox: "0 0 24 24", "aria-hidden": true }, make("path", { d: ICONS[name] })), this.#text(name)))),
      make("p", { class: "quiet" }, this.#text("pay")),
      make("p", { part: "remind", class: "row" },
        this.#link("remind", (event) => this.#remind(event), "#"),
        this.#link("snooze", () => this.#hide(this.#attr("snooze") || 7)),
        this.#link("giving", () => this.#hide(180)))));
    this.#amounts(this.#attr("amount"));
  }

  #amounts(chosen) {
    const presets = this.#attr("presets");
    const own = RegExp(`(?:${this.#picked("often")}:|^)([\\d,]+)`).exec(presets)?.[1].split(",") ?? [];
    const all = [...own, "other"], picked = [...all, "none"].find((a) => a == chosen) ?? own[1] ?? all[0];
    this.#find("#much").replaceChildren(...all.map((a) =>
      this.#choice("much", a, a == "other" ? this.#text(a) : this.#money(a), a == picked)));
    this.#echo();
  }

  // --- what is chosen ---
  #read() {
    const much = this.#picked("much");
    const amount = much == "other" ? parse(this.#find("#own").value, this.#currency, this.#language) : +much;
    if (!(amount >= this.#attr("min") && amount <= (this.#attr("max") || Infinity))) refuse("range");
    return { frequency: this.#picked("often"), amount, currency: this.#currency };
  }

  #facts() {
    const [min, max] = ["min", "max"].map((name) => this.#money(this.#attr(name)));
    return { min, max, example: this.#money(1250, "decimal") };
  }

  #chosen(field) {
    if (field.name == "often") this.#amounts(this.#picked("much") ?? "none");
    this.#echo();
    try { this.#emit("choose", this.#read()); } catch { /* no amount yet */ }
  }

  #echo() {
    this.#find("#other").hidden = this.#picked("much") != "other";
    this.#wrong();
    let label = this.#text("go");
    try {
      const { frequency, amount } = this.#read();
      label = this.#text(`go_${frequency}`, { amount: this.#money(amount) });
    } catch { /* no amount yet */ }
    this.#find("form>button").textContent = label;
  }

  #wrong(error) {
    const own = this.#find("#own");
    own.ariaInvalid = !!error;
    const candidates = error?.candidates ?? [], [one, two] = candidates.map((a) => this.#money(a));
    this.#find("#wrong").replaceChildren(error ? this.#text(error.code, { ...this.#facts(), one, two }) : "",
      ...candidates.map((a) => make("button", { type: "button", class: "link choice", onclick: () => {
        own.value = this.#money(a, "decimal");
        this.#echo();
        own.focus();
      } }, this.#money(a))));
    if (error) own.focus();
  }

  #submit(event) {
    try {
      if (this.#emit("submit", this.#read())) return;
    } catch (error) {
      this.#wrong(error);
      this.#emit("error", { code: error.code });
    }
    event.preventDefault();
  }

  #query() {
    const more = ["campaign", "variant", "article", "lang"].map((name) => [name, this.#attr(name)]);
    return [...Object.entries(this.#read()), ...more].filter(([, value]) => value);
  }

  #fill(sent) {
    sent.delete("often");
    sent.delete("much");
    for (const [name, value] of this.#query()) sent.append(name, value);
  }

  #remind(event) {
    let query = [];
    try { query = this.#query(); } catch { /* no amount yet */ }
    event.target.href = `${this.#attr("base")}/remind?${new URLSearchParams(query)}`;
    if (!this.#emit("remind")) event.preventDefault();
  }

  #hide(days) {
    try { localStorage.setItem("donate-form", Date.now() + days * 864e5); } catch { /* until the page is left */ }
    this.hidden = true;
    this.#emit("snooze", { days });
  }
}

customElements.define("donate-form", DonateForm);
