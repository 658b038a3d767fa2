// <donate-form>: asks for support at the end of an article, and leads to the form at /donate.
// Attributes: base, lang, dir, currency, campaign, article, snooze, supporter; and, unless a campaign's
// script brings them: colors, heading, presets, min, max, frequency, amount, offered, words, variants (one is
// drawn at random and stored nowhere), currencies (what differs in each). Events: donate-form:choose,
// error, submit, remind, snooze; submit and remind can be prevented.
// Parts: form heading frequency amount choice other button methods remind.
// Properties: --donate-accent, -on-accent, -paper, -ink, -radius, -font; and color-scheme, to have
// it light or dark always.
// It makes no request, and stores only that a reader dismissed it, and for how long. Whatever goes
// wrong while it draws, the plain form inside it stays in sight.
(() => {
// --- amounts: parsed as payments/core/amount_input.py parses them ---
const DECIMALS = (code) => ({ jpy: 0, kwd: 3 })[code] ?? 2;
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

function parse(text, code, lang, own) {
  const part = (type, options, number = 1234567.5) =>
    new Intl.NumberFormat(lang, { numberingSystem: "latn", ...options }).formatToParts(number).find((p) => p.type == type)?.value ?? "";
  const [point, separator] = [fold(part("decimal")), fold(part("group"))];
  if (/[\p{No}\p{Nl}]/u.test(text) || [...text].length > 64) refuse("number");
  let typed = fold(text.replace(/٫/g, point)).trim();
  const signs = [code, part("currency", { style: "currency", currency: code }), ...own.split(" ")]
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

// --- how it looks: first for the oldest browser, then what newer ones add ---
const style = (brand) => {
  const [own, dark] = (brand + "#0f4d45#8fd1c1").match(/#\w{6}/g);
  const colors = (pick) => `:host{${[
    ["accent", own, dark], ["on-accent", "#fff", "#0b211c"],
    ["paper", "#fff", "#1e1e1b"], ["ink", "#1d1b18", "#ece8df"], ["error", "#9c1b1b", "#ffa59a"],
  ].map(([name, light, dark]) => `--${name}:var(--donate-${name},${pick(light, dark)});`).join("")}`;
  return `
${colors((light) => light)}--q:var(--ink);display:block;color-scheme:light dark}
@media(prefers-color-scheme:dark){${colors((light, dark) => dark)}}}
@supports(color:light-dark(red,red)){${colors((light, dark) => `light-dark(${light},${dark})`)}}}
@supports(color:color-mix(in srgb,red,red)){:host{--q:color-mix(in srgb,var(--ink) 70%,var(--paper))}}
[hidden],:host([hidden]){display:none}
::slotted([hidden]){display:block}
*{box-sizing:border-box}
h2,legend,button,input,select{font:inherit;color:inherit}
section{padding:1rem;background:var(--paper);color:var(--ink);border:1px solid var(--q);border-block-start:4px solid var(--accent);font:1rem/1.5 var(--donate-font,system-ui,sans-serif);overflow-wrap:break-word}
h2{margin:0 0 .6rem;font-size:1.3rem}
h2,legend{font-weight:700}
p{margin:0 0 .6rem}
fieldset{border:0;margin:0 0 1rem;padding:0;min-inline-size:0}
legend{padding:0;margin-block-end:.4rem}
.grid{display:flex;flex-wrap:wrap;gap:.5rem}
.grid>*{display:grid;flex:1 1 5rem}
.choice{position:relative}
.choice input{position:absolute;left:0;top:0;width:100%;height:100%;margin:0;opacity:0}
.choice span,#own,select,form>button{display:grid;place-content:center;width:100%;min-height:3rem;padding:.4rem .6rem;border:1.5px solid var(--q);border-radius:var(--donate-radius,3px);background:var(--paper);font-weight:600;text-align:center}
#own,select{text-align:start;margin-block-start:.5rem}
form{margin:0 0 .6rem}
.choice :checked+span,form>button{background:var(--accent);border-color:var(--accent);color:var(--on-accent)}
:focus+span{outline:3px solid var(--ink);outline-offset:2px}
:focus-visible{outline:3px solid var(--ink);outline-offset:2px}
#own[aria-invalid=true]{border-color:var(--error)}
progress{width:100%;accent-color:var(--accent)}
.quiet{color:var(--q);font-size:.9rem}
.mark{padding:0 .5em;background:#fff;color:#000;border:1px solid;border-radius:3px}
#wrong{color:var(--error);font-weight:600}
#wrong button{margin-inline-end:1rem}
a,.link{color:var(--accent);text-decoration:underline}
.link{background:none;border:0;padding:.35rem 0}
.row{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem}
svg{width:1.2em;height:1.2em;margin-inline-end:.35em;vertical-align:middle}
@media(forced-colors:active){.choice :checked+span{forced-color-adjust:none;background:Highlight;color:HighlightText}}`;
};

// Puts the style into a shadow root. A policy of the page may forbid a style element, never a sheet.
function dress(root, text, ...nodes) {
  const own = make("style", {}, text);
  try {
    const sheet = new root.ownerDocument.defaultView.CSSStyleSheet();
    sheet.replaceSync(text);
    root.adoptedStyleSheets = [sheet];
    root.replaceChildren(...nodes);
  } catch {
    root.replaceChildren(own, ...nodes);
    if (!own.sheet) throw Error("style");
  }
}

function make(tag, attributes, ...children) {
  const space = /svg|path/.test(tag) ? "2000/svg" : "1999/xhtml";
  const element = document.createElementNS(`http://www.w3.org/${space}`, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (/^on/.test(name)) element[name] = value;
    else if (value != null) element.setAttribute(name, value);
  }
  element.append(...children.map((one) => Array.isArray(one) ? make(...one) : one));
  return element;
}

// What a content system may have put around an attribute's value.
const bare = (value) => value.replace(/^[\s"'“”„«»″‘’′]+|[\s"'“”„«»″‘’′]+$/g, "");

class DonateForm extends HTMLElement {
  static observedAttributes = ["currency", "presets", "lang", "words"];
  static parse = parse;
  #root;
  #view; // the section that is drawn
  #drawn; // the variant
  #code; // the currency that the reader chose
  #gone; // dismissed

  connectedCallback() {
    if (!this.querySelector("form")) this.#gather();
    this.refresh();
  }

  attributeChangedCallback() {
    if (this.#view) this.refresh();
  }

  // What a parser moved out of a paragraph that a content system put around the widget.
  #gather() {
    const next = () => (this.nextElementSibling ?? this.closest("p")?.nextElementSibling);
    for (let one; (one = next())?.matches("[slot],form[action$='/donate'],p:empty");) this.append(one);
  }

  // --- its facts: of the currency, the variant, the campaign's script, the element itself ---
  get #data() {
    const all = globalThis.donateForm ?? [], campaign = this.#attr("campaign");
    const own = all.filter((one) => one.campaign == campaign);
    return own.find((one) => one.lang == this.lang) ?? own[0] ?? (this.hasAttribute("base") ? {} : all[all.length - 1] ?? {});
  }

  #attr(name) { return bare(this.getAttribute(name) ?? ""); }

  #fact(name) {
    const priced = name != "currencies" && this.#fact("currencies")[this.#currency];
    for (const from of [priced, this.#drawn, this.#data]) if (from?.[name] != null) return from[name];
    const text = this.#attr(name);
    if (!/^[[{]/.test(text)) return text;
    try { return JSON.parse(text); } catch { return ""; }
  }

  get #currency() {
    const codes = Object.keys(this.#fact("currencies")), asked = (this.#code ?? this.#attr("currency")).toLowerCase();
    return codes.includes(asked) ? asked : codes[0] ?? asked;
  }

  get #language() {
    for (const tag of [this.closest("[lang]")?.lang, this.#data.lang, document.documentElement.lang]) try { return Intl.getCanonicalLocales(bare(tag).split(/[.@]/)[0].replace("_", "-"))[0]; } catch { /* no tag of a language */ }
    return "en";
  }

  #link(path, query) {
    const base = this.#data.base ?? this.getAttribute("base") ?? "-", root = bare(base);
    if (!/^(https?:\/\/|$)/.test(root)) throw Error("base");
    return `${root}/${path}?${new URLSearchParams(query)}`;
  }

  #find(what) { return this.#view.querySelector(what); }
  #picked(name) { return this.#find(`[name=${name}]:checked`)?.value; }
  // What the reader ticked in the plain form while the script was on its way.
  #ticked(name) { return this.querySelector(`[name=${name}]:checked:not([checked])`)?.value; }

  #emit(name, detail) {
    return this.dispatchEvent(new CustomEvent(`donate-form:${name}`, { bubbles: true, composed: true, cancelable: true, detail }));
  }

  #text(name, facts) {
    return this.#fact("words")[name].replace(/\{(\w+)\}/g, (_, fact) => `\u2068${facts[fact]}\u2069`);
  }

  #money(amount, style) {
    const decimals = DECIMALS(this.#currency);
    const text = new Intl.NumberFormat(this.#language, {
      style: style ?? "currency", currency: this.#currency, useGrouping: !style, numberingSystem: "latn",
      minimumFractionDigits: !style && amount % 10 ** decimals == 0 ? 0 : decimals,
      maximumFractionDigits: decimals,
    }).format(amount / 10 ** decimals);
    // Without the mark "US$" ends as "$US" where one reads from the right.
    return style ? text : text + "\u200e";
  }

  // --- what is there ---
  refresh() {
    const before = this.#view, focused = this.#root?.activeElement?.id;
    try {
      const variants = this.#fact("variants");
      this.#drawn ??= variants[Math.floor(Math.random() * variants.length)];
      let until = 0;
      try { until = localStorage.getItem("donate-form"); } catch { /* not allowed here */ }
      if (this.#gone || this.hasAttribute("supporter") || Date.now() < until || this.#fact("hide")) this.hidden = true;
      const chosen = before
        ? [this.#picked("often"), this.#picked("much") ?? "none", this.#find("#own").value]
        : [this.#ticked("frequency"), this.#ticked("amount"), this.querySelector("[name=other]")?.value];
      this.#draw(...chosen);
      this.#root ??= this.attachShadow({ mode: "open" });
      dress(this.#root, style(this.#fact("colors")), this.#view);
      if (focused) this.#find(`#${focused}`)?.focus();
    } catch (error) {
      this.#view = before;
      if (!before) this.#root?.replaceChildren(make("slot", { name: "message" }), make("slot", {}));
      console.warn("donate-form:", error.message);
    }
  }

  #choice(name, value, text, checked) {
    const radio = make("input", { type: "radio", name, value, required: "", checked: checked ? "" : null });
    return make("label", { class: "choice", part: "choice" }, radio, make("span", {}, text));
  }

  // A wallet is named only where the device may have it.
  #methods() {
    const apple = "ApplePaySession" in globalThis;
    return (this.#fact("methods") || []).filter(([, { "data-device": device }]) => !device || (device == "apple") == apple);
  }

  #button(text, onclick) {
    return make("button", { class: "link", type: "button", onclick }, text);
  }

  #draw(often, much, own) {
    this.#link("donate"); // nothing is drawn that leads nowhere or takes no amount
    if (!(+this.#fact("min") < this.#fact("max"))) throw Error("max");
    const offered = (this.#fact("offered") || "once monthly annual").split(" ");
    const first = [often, this.#fact("frequency"), offered[1], offered[0]].find((f) => offered.includes(f));
    const codes = Object.keys(this.#fact("currencies")), code = this.#currency;
    const label = ` (${code.toUpperCase()})`, methods = this.#methods();
    this.#view = make("section", { part: "form", "aria-labelledby": "title", dir: this.#data.dir },
      make("h2", { part: "heading", id: "title" }, this.#drawn?.heading ?? this.#data.heading ?? this.getAttribute("heading")),
      ...this.#fact("message") || [["slot", { name: this.#drawn?.variant ?? "message" }, ["slot", { name: "message" }]], ["slot", { name: "notice" }]],
      make("form", {
        oninput: (event) => this.#chosen(event.target),
        onsubmit: (event) => this.#submit(event),
      },
      ...codes[1] ? [make("fieldset", {}, make("label", { for: "currency" }, this.#text("currency")),
        make("select", { id: "currency", part: "currency" }, ...codes.map((one) => make("option", { value: one, selected: one == code ? "" : null }, one.toUpperCase()))))] : [],
      make("fieldset", { part: "frequency" }, make("legend", {}, this.#text("often")),
        make("div", { class: "grid" }, ...offered.map((f) => this.#choice("often", f, this.#text(f), f == first)))),
      make("fieldset", { part: "amount" }, make("legend", {}, this.#text("much") + label), make("div", { id: "much", class: "grid" })),
      make("fieldset", { id: "other", part: "other" },
        make("label", { for: "own" }, this.#text("other") + label),
        make("div", { id: "hint", class: "quiet" }, this.#text("range", this.#facts())),
        make("div", { id: "wrong", role: "alert" }),
        make("input", { id: "own", inputmode: "decimal", autocomplete: "off", "aria-describedby": "hint wrong", value: own })),
      // A click, not a submission: policies and sandboxes that forbid a form to be sent allow a link.
      make("button", { part: "button", onclick: (event) => this.#submit(event) })),
      ...methods[0] ? [make("p", { part: "methods", class: "row quiet" }, ...methods)] : [],
      make("p", { class: "quiet" }, this.#text("pay")),
      make("p", { part: "remind" }, make("a", { class: "link", href: "#", onclick: (event) => this.#remind(event) }, this.#text("remind"))),
      make("p", { class: "row" },
        this.#button(this.#text("snooze"), () => this.#hide(this.#attr("snooze") || 7)),
        this.#button(this.#text("giving"), () => this.#hide(180))));
    this.#amounts(much || this.#fact("amount"));
  }

  #amounts(chosen) {
    const own = RegExp(`(?:${this.#picked("often")}:|^)([\\d,]+)`).exec(this.#fact("presets"))?.[1].split(",") ?? [];
    const all = [...own, "other"], picked = [...all, "none"].find((a) => a == chosen) ?? own[1] ?? all[0];
    this.#find("#much").replaceChildren(...all.map((a) =>
      this.#choice("much", a, a == "other" ? this.#text(a) : this.#money(a), a == picked)));
    this.#echo();
  }

  // --- what is chosen ---
  #read() {
    const much = this.#picked("much");
    const amount = much == "other" ? parse(this.#find("#own").value, this.#currency, this.#language, this.#fact("signs")) : +much;
    if (!(amount >= this.#fact("min") && amount <= this.#fact("max"))) refuse("range");
    return { frequency: this.#picked("often"), amount, currency: this.#currency };
  }

  #facts() {
    const [min, max] = ["min", "max"].map((name) => this.#money(this.#fact(name)));
    return { min, max, example: this.#money(1250, "decimal") };
  }

  #chosen(field) {
    if (field.id == "currency") {
      this.#code = field.value;
      this.refresh();
    }
    if (field.name == "often") this.#amounts(this.#picked("much") ?? "none");
    this.#echo();
    try { this.#emit("choose", this.#read()); } catch { /* no amount yet */ }
  }

  #echo() {
    this.#find("#other").hidden = this.#picked("much") != "other";
    this.#wrong();
    const go = this.#fact("go");
    let label = go || this.#text("go");
    try {
      const { frequency, amount } = this.#read(), money = this.#money(amount);
      label = go ? [go, money, this.#text(frequency)].join(" · ") : this.#text(`go_${frequency}`, { amount: money });
    } catch { /* no amount yet */ }
    this.#find("form>button").textContent = label;
  }

  #wrong(error) {
    const own = this.#find("#own");
    own.setAttribute("aria-invalid", !!error);
    const candidates = error?.candidates ?? [], [one, two] = candidates.map((a) => this.#money(a));
    this.#find("#wrong").replaceChildren(error ? this.#text(error.code, { ...this.#facts(), one, two }) : "",
      ...candidates.map((a) => this.#button(this.#money(a), () => {
        own.value = this.#money(a, "decimal");
        this.#echo();
        own.focus();
      })));
    if (error) own.focus();
  }

  #submit(event) {
    event.preventDefault();
    if (!this.#find("form").reportValidity()) return;
    try {
      if (!this.#emit("submit", this.#read())) return;
    } catch (error) {
      if (error.code) {
        this.#wrong(error);
        this.#emit("error", { code: error.code });
        return;
      }
    }
    const link = make("a", { href: this.#link("donate", this.#query()), rel: "noreferrer", hidden: "" });
    this.#view.append(link);
    link.click();
    link.remove();
  }

  #query() {
    const more = { campaign: this.#data.shown ?? this.#attr("campaign"), variant: this.#drawn?.variant, article: this.#attr("article"), lang: this.#data.lang ?? this.#attr("lang") };
    let chosen = {};
    try { chosen = this.#read(); } catch { /* no amount yet */ }
    return Object.entries({ ...chosen, ...more }).filter(([, value]) => value);
  }

  #remind(event) {
    event.target.href = this.#link("remind", this.#query());
    if (!this.#emit("remind")) event.preventDefault();
  }

  #hide(days) {
    try { localStorage.setItem("donate-form", Date.now() + days * 864e5); } catch { /* until the page is left */ }
    this.hidden = this.#gone = true;
    this.#emit("snooze", { days });
  }
}

if (!customElements.get("donate-form")) customElements.define("donate-form", DonateForm);
})();
