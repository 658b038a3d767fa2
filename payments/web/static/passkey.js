// Passkeys (WebAuthn): a form with data-passkey asks the browser for one and sends its response.
// Without this script, or in a browser without passkeys, the form stays hidden, and a link from the
// command line is the way in.
const fromBase64Url = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
const toBase64Url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const descriptors = (credentials) => (credentials ?? []).map((one) => ({ ...one, id: fromBase64Url(one.id) }));

// The options of our server, with bytes where the browser wants bytes.
function decodeOptions({ user, ...options }) {
  return {
    ...options,
    challenge: fromBase64Url(options.challenge),
    ...(user && { user: { ...user, id: fromBase64Url(user.id) } }),
    excludeCredentials: descriptors(options.excludeCredentials),
    allowCredentials: descriptors(options.allowCredentials),
  };
}

// The browser's response as the JSON that our server reads.
function encodeCredential({ id, rawId, type, response }) {
  const names = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
  const parts = names.filter((name) => response[name]).map((name) => [name, toBase64Url(response[name])]);
  return JSON.stringify({ id, rawId: toBase64Url(rawId), type, response: Object.fromEntries(parts) });
}

async function send(form) {
  const status = form.querySelector("[role=status]");
  const button = form.querySelector("button");
  status.textContent = status.dataset.waiting;
  button.disabled = true;
  try {
    const publicKey = decodeOptions(JSON.parse(form.dataset.options));
    const credential = await navigator.credentials[form.dataset.passkey]({ publicKey });
    form.elements.answer.value = encodeCredential(credential);
    form.submit();
  } catch (error) {
    status.textContent = error.name == "InvalidStateError" ? status.dataset.known : status.dataset.failed;
    button.disabled = false;
    button.focus();
  }
}

if (globalThis.PublicKeyCredential) {
  for (const hidden of document.querySelectorAll("[data-passkey], [data-with-passkey]")) hidden.hidden = false;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form);
    });
  }
}
